"""Measures the command side: the handler, the limit it works under, one command."""

import multiprocessing
import time
from collections.abc import Callable

from producers.client.command_client import CommandClient
from producers.handler.start import GROUP
from runtime.settings import Settings
from scripts.bench import passthrough
from scripts.bench.handlers import await_commits, warm_up
from scripts.bench.people import people
from scripts.bench.registry_under_test import send_creates

_LONE_COMMANDS = 300
_WARM_COMMANDS = 20


def handler_creates_per_second(settings: Settings, count: int, alive: Callable[[], bool]) -> float:
    """Have the running handlers (see `running_handlers`) decide `count` creations; return the rate.

    The clock runs from the moment all commands are on the log to the commit of the last: reading,
    deciding, writing and committing.
    """
    return _creates_per_second(settings, settings.named(GROUP), count, alive)


def passthrough_per_second(settings: Settings, count: int, copied: Settings) -> float:
    """Have one process answer `count` creations with what the handler wrote in `copied`.

    In transactions of the same size and by the same clock: the limit of one handler process.
    """
    group = settings.named(passthrough.GROUP)
    process = multiprocessing.get_context("spawn").Process(
        target=passthrough.pass_through, args=(settings, copied)
    )
    process.start()
    try:
        warm_up(settings, group, process.is_alive)
        return _creates_per_second(settings, group, count, process.is_alive)
    finally:
        process.terminate()
        process.join()


def _creates_per_second(
    settings: Settings, group: str, count: int, alive: Callable[[], bool]
) -> float:
    ends = send_creates(settings, count, at_once=True)
    started = time.perf_counter()
    await_commits(settings, group, ends, alive)
    return count / (time.perf_counter() - started)


def lone_command_ms(settings: Settings) -> list[float]:
    """Return the milliseconds of lone commands from a warm client to the running, idle handler."""
    taken = []
    with CommandClient(settings) as client:
        for person in people(_WARM_COMMANDS + _LONE_COMMANDS, "lone"):
            started = time.perf_counter()
            client.create_user(person.email, person.name, person.age)
            taken.append((time.perf_counter() - started) * 1000)
    return taken[_WARM_COMMANDS:]
