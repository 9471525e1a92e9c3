"""Porcupine finds the same addresses linearizable as our own search does."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from shutil import which
from typing import Final, Literal

import pytest

from tests.depth import DEEP
from tests.histories.addresses import registers
from tests.histories.checks import broken
from tests.histories.confirmed import Register, build_porcupine, porcupine_verdicts
from tests.histories.history import FOREVER, History
from tests.histories.linearizable import Operation, is_linearizable
from tests.simulation import run as simulation
from tests.simulation.plan import plan_of

pytestmark = [
    pytest.mark.skipif(not DEEP, reason="compiles a Go program; in `make test-deep`"),
    pytest.mark.skipif(not which("go"), reason="Go is not installed"),
]
SEEDS: Final = 30
FORGED: Final = 5_000
KINDS: Final[tuple[Literal["take", "leave", "seen"], ...]] = ("take", "leave", "seen")


@pytest.fixture(scope="module")
def porcupine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("porcupine") / "porcupine"
    build_porcupine(program)
    return program


def test_both_agree_about_addresses_of_simulated_runs(
    porcupine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories: list[History] = []

    def kept(history: History) -> Iterator[str]:
        histories.append(history)
        return broken(history)

    monkeypatch.setattr(simulation, "broken", kept)
    for seed in range(SEEDS):
        simulation.run(plan_of(seed))
    found = [(operations, seen) for one in histories for _, operations, seen in registers(one)]
    assert set(agreed(porcupine, found)) == {True}


def test_both_agree_about_forged_histories(porcupine: Path) -> None:
    verdicts = agreed(porcupine, [forged(Random(seed)) for seed in range(FORGED)])
    assert min(verdicts[True], verdicts[False]) > FORGED / 10


def agreed(porcupine: Path, found: Sequence[Register]) -> Counter[bool]:
    """Return how many addresses are linearizable and how many not; fail if the two disagree."""
    ours = [is_linearizable(*one) for one in found]
    theirs = porcupine_verdicts(porcupine, found)
    assert theirs == ["ok" if one else "illegal" for one in ours]
    return Counter(ours)


def forged(chance: Random) -> Register:
    """Return random operations, and whether what one saw may have been a reservation."""
    operations = [_operation(chance) for _ in range(chance.randint(2, 9))]
    reserved = {one for one in operations if one.kind == "seen" and chance.random() < 0.2}
    return operations, lambda one: one in reserved


def _operation(chance: Random) -> Operation:
    kind, user = chance.choice(KINDS), chance.choice("abc")
    began = chance.randint(0, 20)
    if kind != "seen" and chance.random() < 0.2:
        return Operation(kind, user, began, FOREVER, optional=True)
    order = 0 if kind == "seen" else chance.randint(0, 3)
    return Operation(kind, user, began, began + chance.randint(1, 8), order)
