"""Our side: one process with rollbook's client for many commands at once, and a running handler."""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Final

from producers.client.async_client import AsyncCommandClient
from producers.client.outcomes import Outcome
from runtime.settings import Settings
from schemas.errors import CheckFailed
from scripts.bench.clients.closed_loop import KINDS, Answers, Seen, Window, seen
from scripts.bench.workload.people import person

_WARM_UP_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 120.0

Ask = Callable[[], Coroutine[Any, Any, Outcome]]


def run_ours(settings: Settings, clients: int, seconds: float) -> dict[str, Seen]:
    """Have `clients` create users for `seconds`, and then rename them; return what they saw.

    A handler must be running. Raises `CheckFailed` if their process ends early.
    """
    spawn = multiprocessing.get_context("spawn")
    results = spawn.SimpleQueue()
    process = spawn.Process(target=_in_process, args=(settings, clients, seconds, results))
    process.start()
    process.join(_PATIENCE_SECONDS + 2 * (seconds + _WARM_UP_SECONDS))
    if process.exitcode != 0:
        process.terminate()
        process.join()
        raise CheckFailed("rollbook's clients ended early: the error is above")
    found: dict[str, Seen] = results.get()
    return found


def _in_process(settings: Settings, clients: int, seconds: float, results: Any) -> None:
    person(0)  # the first call makes up the names, which takes a second
    results.put(asyncio.run(_run(settings, clients, seconds)))


async def _run(settings: Settings, clients: int, seconds: float) -> dict[str, Seen]:
    async with AsyncCommandClient(settings) as client:
        created: list[list[str]] = [[] for _ in range(clients)]
        kinds: dict[str, list[Ask]] = {
            "create": [_creations(client, number, ids) for number, ids in enumerate(created)],
            "update": [_renames(client, ids) for ids in created],
        }
        found = {}
        for kind in KINDS:
            answers = Answers(Window.after(_WARM_UP_SECONDS, seconds))
            await asyncio.gather(*(_loop(ask, answers) for ask in kinds[kind]))
            found[kind] = seen(answers.milliseconds, seconds)
        return found


async def _loop(ask: Ask, answers: Answers) -> None:
    while answers.is_open():
        asked_at = time.perf_counter()
        outcome = await ask()
        answers.take(asked_at)
        if not outcome.accepted:
            raise CheckFailed(f"a command was rejected: {outcome.code}")


def _creations(client: AsyncCommandClient, number: int, ids: list[str]) -> Ask:
    persons = (person(one, f"client{number}") for one in count())

    async def ask() -> Outcome:
        outcome = await client.create_user(*next(persons))
        ids.append(outcome.user_id or "")
        return outcome

    return ask


def _renames(client: AsyncCommandClient, ids: list[str]) -> Ask:
    """Rename the users of one client in turn; each name is new, so that each is an event."""
    turns = count(1)

    async def ask() -> Outcome:
        turn = next(turns)
        return await client.update_user(ids[turn % len(ids)], name=f"Renamed {turn}")

    return ask
