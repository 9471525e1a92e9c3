"""Handlers that die or stand still at a point, err, or move."""

import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from typing import Final

from producers.handler.members import GROUP
from tests.faults.nemesis.faults.common import Broken, Fault, frozen, is_frozen, killed, wait
from tests.faults.nemesis.plan import HANDLERS, POINTS, STALLED_SECONDS, STALLS
from tests.faults.nemesis.system import EXTRA_HANDLER, System
from tests.observed.groups import is_deleted
from tests.started.processes import RunningProcess

_IN_TRANSACTION: Final = ("after produce", "after send-offsets")
_DONE: Final = {"freeze": "frozen", "stall": "stalled"}
_ASSIGNED: Final = re.compile(r"assigned partitions \[([\d, ]+)\]")
_GIVEN_UP: Final = re.compile(r"gave up partitions \[([\d, ]+)\]")
_RESTORED: Final = re.compile(r"restored partition (\d+)")


@contextmanager
def _killed_at_point(system: System, target: str, chance: Random) -> Broken:
    point = chance.choice(sorted(POINTS))
    count = str(chance.randint(1, POINTS[point]))
    with system.held(target) as process:
        process.kill()
        armed = system.start(target, "--at", point, "--count", count)
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
def _transaction_too_long(system: System, target: str, chance: Random) -> Broken:
    """Let a handler stand still inside a transaction until the broker has aborted that.

    A frozen process loses its partitions meanwhile; one that only stalls keeps them.
    """
    point, act = chance.choice(_IN_TRANSACTION), chance.choice(("freeze", "stall"))
    with system.held(target) as process:
        process.kill()
        count = str(chance.randint(1, POINTS[point]))
        armed = system.start(target, "--at", point, "--count", count, "--do", act)
        stood_still = wait(lambda: _stands_still(armed, act))
        before = armed.text()
        yield
        if stood_still:
            time.sleep(STALLED_SECONDS)
            armed.thaw()
            wait(lambda: armed.text() != before)  # it has found out
            system.happened[f"transaction too long: handler {_DONE[act]}"] += 1


@contextmanager
def _offsets_lost(system: System, _target: str, _chance: Random) -> Broken:
    """Delete the offsets of the handlers, all of which are dead: as after an outage of weeks."""
    with ExitStack() as held:
        for name in HANDLERS:
            held.enter_context(system.held(name)).kill()
        if wait(lambda: is_deleted(system.settings, GROUP)):
            system.happened["handlers' offsets lost"] += 1
        yield


def _stands_still(process: RunningProcess, act: str) -> bool:
    """Return whether a process stands still, as it says itself or the system does."""
    if act == "stall":
        return STALLS in process.text()
    return is_frozen(process)


@contextmanager
def _moved_in_restore(system: System, target: str, _chance: Random) -> Broken:
    """Move partitions to a third handler while this one restores them."""
    with system.held(target) as process:
        process.kill()
        slow = system.start(target, "--slow-restores", "2")
        if wait(lambda: _restoring(slow)):
            restoring = _restoring(slow)
            with _moved(system):
                if wait(lambda: _given_up(slow) & restoring):
                    system.happened["partitions moved during their restore"] += 1
                yield
        else:
            yield


def _restoring(process: RunningProcess) -> set[int]:
    """Return the partitions that were assigned to a handler and are not restored."""
    restored = {int(number) for number in _RESTORED.findall(process.text())}
    return _numbers(_ASSIGNED, process) - _given_up(process) - restored


def _given_up(process: RunningProcess) -> set[int]:
    return _numbers(_GIVEN_UP, process)


def _numbers(pattern: re.Pattern[str], process: RunningProcess) -> set[int]:
    return {int(n) for found in pattern.findall(process.text()) for n in found.split(",")}


HANDLER_FAULTS: Final[Mapping[str, Fault]] = {
    "handler killed": killed,
    "handler killed at a point": _killed_at_point,
    "handler frozen": frozen,
    "handler started twice": _twin,
    "handler's clock moved": _clock,
    "partitions rebalanced": _rebalanced,
    "transaction too long": _transaction_too_long,
    "rebalance during a restore": _moved_in_restore,
    "handlers' offsets lost": _offsets_lost,
}
