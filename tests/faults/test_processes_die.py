"""Our processes killed or frozen under load: nothing is lost, doubled or written by a zombie."""

import random

import pytest

from runtime.settings import Settings
from tests.depth import DEEP
from tests.faults.outage import (
    MODELS,
    Progress,
    RunningImport,
    assert_everything_is_valid,
    start_all,
)
from tests.observed.catch_up import wait_caught_up
from tests.started.processes import Rollbook, RunningProcess

pytestmark = pytest.mark.skipif(
    not DEEP, reason="test_nemesis.py kills and freezes processes, too; in `make test-deep`"
)

SEED = 20_250_101
USERS = 30_000
KILLS = 16


def test_handler_and_projectors_killed_at_random_points_resume(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Each resumes at its checkpoint: every command is decided once, every event applied once."""
    chance = random.Random(SEED)
    processes = start_all(rollbook)
    progress = Progress(settings)
    running = RunningImport(rollbook, USERS)
    for name in chance.sample([*processes] * 4, k=KILLS):
        progress.wait_for(chance.randint(100, 900))
        processes[name].kill()
        processes[name] = _start(rollbook, name)
    running.wait()
    wait_caught_up(settings, *MODELS)
    assert_everything_is_valid(rollbook, USERS)


def _start(rollbook: Rollbook, name: str) -> RunningProcess:
    if name == "handler":
        return rollbook.start_handler(wait=False)
    return rollbook.start_projector(name)


def test_a_projector_that_lost_its_partitions_changes_nothing(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Frozen until others own its partitions, then continued under load.

    The one that finds the checkpoint moved by the other stops.
    """
    zombies = start_all(rollbook)
    del zombies["handler"]
    progress = Progress(settings)
    first = RunningImport(rollbook, 4_000, tag="first")
    progress.wait_for(1_000)
    for zombie in zombies.values():
        zombie.freeze()
    heirs = [rollbook.start_projector(name) for name in MODELS]
    for successor in heirs:
        successor.wait_for("assigned: partitions [0, 1, 2, 3]")
    second = RunningImport(rollbook, 4_000, tag="second")
    progress.wait_for(1_000)
    for zombie in zombies.values():
        zombie.thaw()
    for running in (first, second):
        running.wait()
    for zombie in zombies.values():
        zombie.wait_for("revoked: partitions [0, 1, 2, 3]")
    # Each of the two may have found a checkpoint that a commit of the other moved, and stopped. A
    # supervisor then starts them again.
    for name in MODELS:
        rollbook.start_projector(name)
    wait_caught_up(settings, *MODELS)
    assert_everything_is_valid(rollbook, 8_000)
