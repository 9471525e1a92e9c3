"""A handler that dies or errs on purpose, as the options of `main` say.

Nothing that is installed knows of these options: they replace parts of the product in this process.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from producers.handler.batch import Batch
from producers.handler.partitions.ownership import Ownership
from producers.handler.partitions.restore import Restore
from producers.handler.transaction import Transactions
from runtime.kafka import client_classes
from scripts import cli
from tests.faults.nemesis.plan import POINTS, STALLED_SECONDS, STALLS


def at(point: str, count: int, act: Callable[[], None]) -> None:
    """Do something when this process reaches a point for the `count`th time."""
    reached = 0

    def reach() -> None:
        nonlocal reached
        reached += 1
        if reached == count:
            act()

    owner, name, is_after = {
        "after consume": (Ownership, "membership", False),
        "after decide": (Transactions, "commit", False),
        "after produce": (client_classes.Producer, "send_offsets_to_transaction", False),
        "after send-offsets": (client_classes.Producer, "send_offsets_to_transaction", True),
        "after commit": (client_classes.Producer, "commit_transaction", True),
        "in fold": (Batch, "fold", True),
        "in restore": (Restore, "step", True),
        "in revocation": (Ownership, "_on_revoke", False),
    }[point]
    _wrap(owner, name, before=None if is_after else reach, after=reach if is_after else None)


def _wrap(
    owner: type, name: str, *, before: Callable[[], None] | None, after: Callable[[], None] | None
) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if before:
            before()
        result = original(*arguments, **options)
        if after:
            after()
        return result

    setattr(owner, name, wrapped)


def slow_restores(seconds: float) -> None:
    """Let each step of a restore take longer."""
    _wrap(Restore, "step", before=None, after=lambda: time.sleep(seconds))


def stall() -> None:
    """Stand still, while heartbeats go on: the group keeps this member."""
    sys.stderr.write(f"{STALLS}\n")
    time.sleep(STALLED_SECONDS)


def move_clock(milliseconds: int) -> None:
    """Make this process see another time than the machine has."""
    true, moved = time.time_ns, milliseconds * 1_000_000
    time.time_ns = lambda: true() + moved


def main(arguments: list[str]) -> None:
    """Run a handler with the options `arguments`."""
    parser = argparse.ArgumentParser(prog="handler", description=__doc__)
    parser.add_argument("instance")
    parser.add_argument("--at", choices=sorted(POINTS), help="where to die, freeze or stall")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--do", choices=("die", "freeze", "stall"), default="die")
    parser.add_argument("--slow-restores", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--clock-ms", type=int, default=0)
    parser.add_argument("--saboteur")
    options = parser.parse_args(arguments)
    acts: dict[str, Callable[[], None]] = {
        "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "freeze": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "stall": stall,
    }
    if options.at:
        at(options.at, options.count, acts[options.do])
    if options.slow_restores:
        slow_restores(options.slow_restores)
    if options.clock_ms:
        move_clock(options.clock_ms)
    if options.saboteur:
        import_module("tests.faults.nemesis.saboteurs").SABOTEURS[options.saboteur]()
    cli.main(["handler", "run", "--instance", options.instance])
