"""Our own processes killed or frozen under load: nothing lost, nothing twice, no zombie writes."""

import random

from runtime.settings import Settings
from tests.faults.outage import (
    MODELS,
    Progress,
    RunningImport,
    assert_all_is_right,
    start_all,
    wait_caught_up,
)
from tests.processes import Rollbook, RunningProcess

SEED = 20_250_101


def test_each_is_killed_again_and_again_at_random_points(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Started again, handler and projectors go on exactly where they were."""
    chance = random.Random(SEED)
    processes = start_all(rollbook)
    progress = Progress(settings)
    running = RunningImport(rollbook, 10_000)
    for name in chance.sample([*processes] * 2, k=6):
        progress.wait_for(chance.randint(100, 900))
        processes[name].kill()
        processes[name] = _start(rollbook, name)
    running.wait()
    wait_caught_up(settings, *MODELS)
    assert_all_is_right(rollbook, 10_000)


def _start(rollbook: Rollbook, name: str) -> RunningProcess:
    if name == "handler":
        return rollbook.start_handler(wait=False)
    return rollbook.start_projector(name)


def test_zombie_projectors_change_nothing(settings: Settings, rollbook: Rollbook) -> None:
    """Frozen until their partitions are another's, then continued in the middle of a load.

    Whichever of the two finds the checkpoint moved by the other stops; the model stays right.
    """
    zombies = start_all(rollbook)
    del zombies["handler"]
    progress = Progress(settings)
    first = RunningImport(rollbook, 4_000, tag="first")
    progress.wait_for(1_000)
    for zombie in zombies.values():
        zombie.freeze()
    heirs = [rollbook.start_projector(name) for name in MODELS]
    for heir in heirs:
        heir.wait_for("assigned: partitions [0, 1, 2, 3]")
    second = RunningImport(rollbook, 4_000, tag="second")
    progress.wait_for(1_000)
    for zombie in zombies.values():
        zombie.thaw()
    for running in (first, second):
        running.wait()
    for zombie in zombies.values():
        zombie.wait_for("revoked: partitions [0, 1, 2, 3]")
    wait_caught_up(settings, *MODELS)
    assert_all_is_right(rollbook, 8_000)
