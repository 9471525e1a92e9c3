"""Rebuilds and swaps that die under load."""

import time
from collections.abc import Mapping
from contextlib import contextmanager
from random import Random
from typing import Final

from tests.faults.nemesis.faults.common import Broken, Fault, wait
from tests.faults.nemesis.system import System
from tests.faults.outage import MODELS


@contextmanager
def _rebuild_killed(system: System, _target: str, chance: Random) -> Broken:
    model = chance.choice(MODELS)
    rebuild = system.rollbook.start("projector", "rebuild", model)
    time.sleep(chance.uniform(0.3, 3))
    if rebuild.returncode() is None:
        rebuild.kill()
        system.happened[f"rebuild of {model} killed"] += 1
    yield


@contextmanager
def _swap_killed(system: System, _target: str, chance: Random) -> Broken:
    model = chance.choice(MODELS)
    rebuild = system.rollbook.start("projector", "rebuild", model)
    yield
    if not wait(lambda: rebuild.returncode() is not None, 40):
        rebuild.kill()
        return
    swap = system.rollbook.start("projector", "swap", model)
    time.sleep(chance.uniform(0.1, 1))
    if swap.returncode() is None:
        swap.kill()
        system.happened[f"swap of {model} killed"] += 1


REBUILD_FAULTS: Final[Mapping[str, Fault]] = {
    "rebuild killed": _rebuild_killed,
    "swap killed": _swap_killed,
}
