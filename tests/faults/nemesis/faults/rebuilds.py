"""Rebuilds and swaps that die under load, at each of their steps."""

import json
import signal
from collections.abc import Mapping
from contextlib import contextmanager
from random import Random
from typing import Final

from tests.faults.nemesis.armed import OF_REBUILD, OF_SWAP
from tests.faults.nemesis.faults.common import Broken, Fault, wait
from tests.faults.nemesis.system import ARMED, System
from tests.faults.outage import MODELS
from tests.started.processes import RunningProcess

_REBUILT_SECONDS: Final = 60.0


@contextmanager
def _rebuild_killed(system: System, _target: str, chance: Random) -> Broken:
    model, point = chance.choice(MODELS), chance.choice(sorted(OF_REBUILD))
    rebuild = _start(system, point, "rebuild", model)
    yield
    if _died(rebuild):
        system.happened[f"rebuild of {model} killed {point}"] += 1


@contextmanager
def _swap_killed(system: System, _target: str, chance: Random) -> Broken:
    """Rebuild a model under load, and kill the swap to its new version."""
    model, point = chance.choice(MODELS), chance.choice(sorted(OF_SWAP))
    rebuild = system.rollbook.start("projector", "rebuild", model, "--json")
    yield
    if not wait(lambda: rebuild.returncode() is not None, _REBUILT_SECONDS):
        rebuild.kill()
        return
    if rebuild.returncode() == 0:
        version = json.loads(rebuild.text().splitlines()[-1])["version"]
        if _died(_start(system, point, "swap", model, str(version))):
            system.happened[f"swap of {model} killed {point}"] += 1


def _start(system: System, point: str, *command: str) -> RunningProcess:
    return system.rollbook.start_module(ARMED, "--at", point, "projector", *command)


def _died(process: RunningProcess) -> bool:
    """Wait until a process ends; return whether it was killed at its point."""
    ended = wait(lambda: process.returncode() is not None, _REBUILT_SECONDS)
    code = process.returncode()
    process.kill()
    return ended and code == -signal.SIGKILL


REBUILD_FAULTS: Final[Mapping[str, Fault]] = {
    "rebuild killed": _rebuild_killed,
    "swap killed": _swap_killed,
}
