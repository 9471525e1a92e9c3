"""The peer's side: threads that share `eventsourcing` applications, on the same PostgreSQL.

Its options are those for speed: its functions in the database, and a cache of aggregates that is
not compared with the database, as each user has one writer.
"""

import multiprocessing
import os
import queue
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from runtime.settings import Settings
from schemas.errors import CheckFailed
from scripts.bench.clients.closed_loop import KINDS, Answers, Seen, Window, seen
from scripts.bench.peers.eventsourcing_library import (
    PeerSetup,
    environment_of_peer,
    fresh_schema,
)
from scripts.bench.workload.people import person

# One for each core: with 64 clients on two cores, 4 and 8 processes were a tenth slower.
_MOST_PROCESSES: Final = os.cpu_count() or 1
_MOST_CONNECTIONS: Final = 8  # of each process
_CACHED_USERS: Final = 100_000
_WARM_UP_SECONDS: Final = 1.0
_READY_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class _Share:
    """Which of the clients a process runs, each as a thread."""

    process: int
    clients: int
    seconds: float


def _shares(clients: int, seconds: float) -> Iterator[_Share]:
    processes = min(clients, _MOST_PROCESSES)
    for number in range(processes):
        yield _Share(number, len(range(number, clients, processes)), seconds)


def run_peer(
    settings: Settings, clients: int, synchronous_commit: str, seconds: float
) -> dict[str, Seen]:
    """Have `clients` create users for `seconds`, and then rename them; return what they saw.

    The tables are dropped afterwards. Raises `CheckFailed` if one of their processes ends early.
    """
    from scripts.bench.peers.eventsourcing_application import Users

    spawn = multiprocessing.get_context("spawn")
    shares = list(_shares(clients, seconds))
    start, results = spawn.Barrier(len(shares)), spawn.Queue()
    setup = PeerSetup(clients, synchronous_commit, functions=True)
    processes = []
    with fresh_schema(settings) as schema:
        environment = environment_of_peer(settings, setup, schema) | {
            "AGGREGATE_CACHE_MAXSIZE": str(_CACHED_USERS),
            "AGGREGATE_CACHE_FASTFORWARD": "no",
        }
        Users(env=environment).close()  # creates the tables
        for share in shares:
            arguments = (environment, share, start, results)
            processes.append(spawn.Process(target=_in_process, args=arguments))
            processes[-1].start()
        try:
            patience_seconds = _READY_SECONDS + 2 * (seconds + _WARM_UP_SECONDS)
            found = [results.get(timeout=patience_seconds) for _ in processes]
        except queue.Empty:
            raise CheckFailed("a process of the peer ended early: its error is above") from None
        finally:
            for process in processes:
                process.terminate()
                process.join()
    return {kind: seen([taken for one in found for taken in one[kind]], seconds) for kind in KINDS}


def _in_process(environment: dict[str, str], share: _Share, start: Any, results: Any) -> None:
    """Run some clients at the same times as the other processes."""
    # PostgreSQL's client library reads it; the peer has no setting for it.
    os.environ["PGOPTIONS"] = environment["PGOPTIONS"]
    from scripts.bench.peers.eventsourcing_application import Users

    connections = min(share.clients, _MOST_CONNECTIONS)
    own = {"CREATE_TABLE": "no", "POSTGRES_POOL_SIZE": str(connections)}
    users = Users(env=environment | own)
    created: list[list[Any]] = [[] for _ in range(share.clients)]
    person(0)  # the first call makes up the names, which takes a second

    def create(client: int, answers: Answers) -> None:
        persons = (person(one, f"client{share.process}-{client}") for one in count())
        while answers.is_open():
            asked_at = time.perf_counter()
            created[client].append(users.register(*next(persons)))
            answers.take(asked_at)

    def rename(client: int, answers: Answers) -> None:
        ids, turns = created[client], count(1)
        while answers.is_open():
            turn, asked_at = next(turns), time.perf_counter()
            users.rename(ids[turn % len(ids)], f"Renamed {turn}")
            answers.take(asked_at)

    found = {}
    with ThreadPoolExecutor(share.clients) as threads:
        for kind, ask in zip(KINDS, (create, rename), strict=True):
            start.wait(_READY_SECONDS)
            answers = Answers(Window.after(_WARM_UP_SECONDS, share.seconds))
            list(threads.map(ask, range(share.clients), [answers] * share.clients))
            found[kind] = answers.milliseconds
    results.put(found)
