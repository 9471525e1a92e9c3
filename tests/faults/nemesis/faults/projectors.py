"""Projectors that die or freeze: at any time, or at a point of a batch."""

import signal
import time
from collections.abc import Mapping
from contextlib import contextmanager
from random import Random
from typing import Final

from tests.faults.nemesis.armed import IN_ELASTICSEARCH, IN_POSTGRES
from tests.faults.nemesis.faults.common import Broken, Fault, frozen, is_frozen, killed, wait
from tests.faults.nemesis.system import OUTLASTS_SESSION_SECONDS, System

_TIMES: Final = 5


@contextmanager
def _killed_at_point(system: System, target: str, chance: Random) -> Broken:
    point = _point(target, chance)
    with system.held(target) as process:
        process.kill()
        times = str(chance.randint(1, _TIMES))
        armed = system.start(target, "--at", point, "--times", times)
        died = wait(lambda: armed.returncode() is not None)
        if died and armed.returncode() == -signal.SIGKILL:
            system.happened[f"{target} killed {point}"] += 1
        yield


@contextmanager
def _frozen_at_point(system: System, target: str, chance: Random) -> Broken:
    """Freeze a projector that has a batch in hand, until another one has its partitions."""
    point = _point(target, chance)
    with system.held(target) as process:
        process.kill()
        armed = system.start(target, "--at", point, "--freeze")
        if not wait(lambda: is_frozen(armed)):
            yield
            return
        other = system.rollbook.start_projector(target.partition(" ")[0])
        yield
        if wait(lambda: "assigned: partitions [" in other.text(), 2 * OUTLASTS_SESSION_SECONDS):
            time.sleep(chance.uniform(0, 2))  # it may write, or wait for what the frozen one locks
            system.happened[f"{target} frozen {point}, another took over"] += 1
        before = armed.text()
        armed.thaw()
        wait(lambda: armed.text() != before)  # it has found out
        other.kill()


def _point(target: str, chance: Random) -> str:
    points = IN_ELASTICSEARCH if target.startswith("elasticsearch") else IN_POSTGRES
    return chance.choice(sorted(points))


PROJECTOR_FAULTS: Final[Mapping[str, Fault]] = {
    "projector killed": killed,
    "projector killed at a point": _killed_at_point,
    "projector frozen": frozen,
    "projector frozen with a batch": _frozen_at_point,
}
