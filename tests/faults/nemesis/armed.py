"""A command of rollbook that breaks at a point: see `main`.

Nothing that is installed knows of these points: they replace parts of the product in this process.
At its point, a process dies, freezes, or kills a server.
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import psycopg

from projectors.elasticsearch.index.bulk import BulkWriter
from projectors.elasticsearch.index.checkpoints import Checkpoints
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.elasticsearch.index.write_lock import WriteLock
from projectors.history import writer as history
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users import writer as users
from projectors.versions import swap
from projectors.versions.rebuild import Rebuild
from scripts import cli
from tests.faults.outage import signal_tree


@dataclass(frozen=True, slots=True)
class Point:
    """Before or after the `first`th call of any of `functions`, each an owner and a name.

    With `argument`, only calls that have it are counted.
    """

    functions: tuple[tuple[Any, str], ...]
    is_after: bool = False
    argument: str | None = None
    first: int = 1


def _of_both(name: str) -> tuple[tuple[Any, str], ...]:
    return ((PostgresVersions, name), (ElasticsearchVersions, name))


_COPY: Final = ((users, "copy_rows"), (history, "copy_rows"))
_COMMIT: Final = ((psycopg.Transaction, "__exit__"),)
_CHANGE_OF_QUERIES: Final = ((PostgresVersions, "_go_live"), (WriteLock, "still_held"))
_STEPS: Final = (
    "reading the log",
    "indexing",
    "reading what was written meanwhile",
    "comparing with the log",
)
IN_POSTGRES: Final[Mapping[str, Point]] = {
    "before COPY": Point(_COPY),
    "after COPY": Point(_COPY, is_after=True),
    "before COMMIT": Point(_COMMIT),
    "after COMMIT": Point(_COMMIT, is_after=True),
}
IN_ELASTICSEARCH: Final[Mapping[str, Point]] = {
    "before bulk": Point(((BulkWriter, "store"),)),
    "after bulk": Point(((BulkWriter, "store"),), is_after=True),
    "after checkpoint": Point(((Checkpoints, "advance"),), is_after=True),
}
OF_REBUILD: Final[Mapping[str, Point]] = {
    "before its version is created": Point(_of_both("create")),
    "after its version is created": Point(_of_both("create"), is_after=True),
    **{f"while {step}": Point(((Rebuild, "_report"),), argument=step) for step in _STEPS},
    "before its version is accepted": Point(_of_both("accept")),
    "after its version is accepted": Point(_of_both("accept"), is_after=True),
}
OF_SWAP: Final[Mapping[str, Point]] = {
    "before writers are blocked": Point(_of_both("swap")),
    # The end of the log is read before writers are blocked, and again while they are.
    "while writers are blocked": Point(((swap, "read_log_end"),), first=2),
    "before queries change": Point(_CHANGE_OF_QUERIES, is_after=True),
    "after queries change": Point(_of_both("swap"), is_after=True),
}
POINTS: Final = {**IN_POSTGRES, **IN_ELASTICSEARCH, **OF_REBUILD, **OF_SWAP}


def arm(point: Point, times: int, act: Callable[[], None]) -> None:
    """Call `act` when a point is reached for the `times`th time."""
    calls = count(1)

    def reach(arguments: tuple[Any, ...]) -> None:
        if point.argument in {None, *(one for one in arguments if isinstance(one, str))} and (
            next(calls) == point.first + times - 1
        ):
            act()

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if not point.is_after:
                reach(arguments)
            result = original(*arguments, **options)
            if point.is_after:
                reach(arguments)
            return result

        return wrapped

    for owner, name in point.functions:
        setattr(owner, name, wrap(getattr(owner, name)))


def kill_server(pid: int, delay_seconds: float) -> None:
    """Kill a server and its children; with a delay, while this process goes on."""

    def kill() -> None:
        time.sleep(delay_seconds)
        signal_tree(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    if not delay_seconds:
        killer.join()


def _act_of(options: argparse.Namespace) -> Callable[[], None]:
    if options.kill_server:
        return lambda: kill_server(options.kill_server, options.delay_ms / 1000)
    number = signal.SIGSTOP if options.freeze else signal.SIGKILL
    return lambda: os.kill(os.getpid(), number)


def main(arguments: list[str]) -> None:
    """Run a command of rollbook that breaks as the options before it say."""
    parser = argparse.ArgumentParser(prog="armed", description=__doc__)
    parser.add_argument("--at", required=True, choices=sorted(POINTS))
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--kill-server", type=int, metavar="PID")
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    arm(POINTS[options.at], options.times, _act_of(options))
    cli.main(options.command)
