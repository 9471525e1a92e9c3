"""Handlers that die at a point, err or move, and their requests that are lost or late."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty
from random import Random
from typing import Final

from tests.faults.broker_proxy import (
    ADD_OFFSETS,
    ADD_PARTITIONS,
    END_TXN,
    FETCH,
    OFFSET_COMMIT,
    PRODUCE,
)
from tests.faults.nemesis.faults.common import Broken, Fault, frozen, killed, wait
from tests.faults.nemesis.plan import POINTS
from tests.faults.nemesis.system import EXTRA_HANDLER, System
from tests.processes import RunningProcess

_LOST: Final = {
    "produce": PRODUCE,
    "fetch": FETCH,
    "add partitions": ADD_PARTITIONS,
    "add offsets": ADD_OFFSETS,
    "end of transaction": END_TXN,
    "offset commit": OFFSET_COMMIT,
}


@contextmanager
def _killed_at_point(system: System, target: str, chance: Random) -> Broken:
    point = chance.choice(sorted(POINTS))
    count = str(chance.randint(1, POINTS[point]))
    with system.held(target) as process:
        process.kill()
        armed = system.start(target, "--die-at", point, "--count", count)
        if point == "in revocation" and wait(lambda: "restored partition" in armed.text()):
            with _moved(system):
                died = wait(lambda: armed.returncode() is not None)
        else:
            died = wait(lambda: armed.returncode() is not None)
        if died and armed.returncode() == -signal.SIGKILL:
            system.happened[f"handler killed {point}"] += 1
        yield


@contextmanager
def _twin(system: System, target: str, _chance: Random) -> Broken:
    """Run a second handler of the same identity; a lock file prevents that on one machine."""
    elsewhere = system.rollbook.directory / "elsewhere"
    with system.changed(ROLLBOOK_STATE_DIRECTORY=str(elsewhere)):
        twin = system.rollbook.start_handler(target, wait=False)
    system.happened["handler started twice"] += 1
    try:
        yield
    finally:
        twin.kill()


@contextmanager
def _clock(system: System, target: str, chance: Random) -> Broken:
    milliseconds = chance.choice((-1, 1)) * chance.randint(1_000, 120_000)
    with system.held(target) as process:
        process.kill()
        system.start(target, "--clock-ms", str(milliseconds))
        direction = "forwards" if milliseconds > 0 else "back"
        system.happened[f"handler's clock set {direction}"] += 1
        yield


@contextmanager
def _moved(system: System) -> Iterator[RunningProcess]:
    extra = system.rollbook.start_handler(EXTRA_HANDLER, wait=False)
    try:
        yield extra
    finally:
        with suppress(TimeoutError):  # it is killed then
            extra.stop()


@contextmanager
def _rebalanced(system: System, _target: str, chance: Random) -> Broken:
    """Move partitions to a third handler and back; it may die with them."""
    with _moved(system) as extra:
        if wait(lambda: "assigned partitions [" in extra.text()):
            system.happened["partitions moved to another handler"] += 1
        yield
        if chance.random() < 0.5:
            extra.kill()


@contextmanager
def _end_delayed(system: System, target: str, _chance: Random) -> Broken:
    """Keep an `EndTxn` and let it go when later transactions may have begun."""
    proxy = system.proxies[target]
    proxy.hold_back(END_TXN)
    has_begun = wait(proxy.done.is_set)
    proxy.leave_alone()
    yield
    if has_begun:
        with suppress(OSError, Empty):  # the broker has died since
            code = proxy.let_go()
            system.happened[f"end of transaction delayed: Kafka's code {code}"] += 1


@contextmanager
def _answer_lost(system: System, target: str, chance: Random) -> Broken:
    proxy, kind = system.proxies[target], chance.choice(sorted(_LOST))
    proxy.lose_answer(_LOST[kind])
    if wait(proxy.done.is_set):
        system.happened[f"answer lost: {kind}"] += 1
    proxy.leave_alone()
    yield


HANDLER_FAULTS: Final[Mapping[str, Fault]] = {
    "handler killed": killed,
    "handler killed at a point": _killed_at_point,
    "handler frozen": frozen,
    "handler started twice": _twin,
    "handler's clock moved": _clock,
    "partitions rebalanced": _rebalanced,
    "end of transaction delayed": _end_delayed,
    "answer of the broker lost": _answer_lost,
}
