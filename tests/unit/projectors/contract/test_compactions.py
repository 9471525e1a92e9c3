"""Whatever compaction has left of a log, and whatever happens meanwhile: the same read model.

On a read model in a file, because it is quick; the module of the same name in `tests/integration`
runs ours on their servers. `ROLLBOOK_COMPACTIONS_EXAMPLES=2000` makes it a long run. A failure
prints the shrunk steps and the seed that lead to it.
"""

import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings

from runtime.settings import Settings
from tests.compactions import SEEDS, STEPS, Steps
from tests.examples.domains import DomainUsers, DomainVersions
from tests.killed_projector import check_live_equals_rebuilt
from tests.unit.projectors.contract.broken_domains import (
    ForgetsTheGone,
    IgnoresVersions,
    NeverUpdates,
    broken,
)

LONG = int(os.environ.get("ROLLBOOK_COMPACTIONS_EXAMPLES", "0"))
EXAMPLES = settings(max_examples=LONG or 40, deadline=None, print_blob=True)
UNTIL_FOUND = settings(
    EXAMPLES, max_examples=1_000, phases=[Phase.generate], database=None, derandomize=True
)


def check(kind: type[DomainVersions], place: Path, steps: Steps, seed: int) -> None:
    with (
        TemporaryDirectory(dir=place) as directory,
        closing(kind(Settings(state_directory=directory))) as versions,
    ):
        check_live_equals_rebuilt(versions, steps, seed)


@pytest.mark.timeout(0 if LONG else 300)
@EXAMPLES
@given(steps=STEPS, seed=SEEDS)
def test_a_live_read_model_equals_a_rebuild_from_any_compaction(
    quick_directory: Path, steps: Steps, seed: int
) -> None:
    check(DomainVersions, quick_directory, steps, seed)


@pytest.mark.parametrize("kind", [ForgetsTheGone, IgnoresVersions, NeverUpdates])
def test_a_read_model_that_is_wrong_is_found(
    kind: type[DomainUsers], quick_directory: Path
) -> None:
    """A check that cannot fail proves nothing."""

    @UNTIL_FOUND
    @given(STEPS, SEEDS)
    def find(steps: Steps, seed: int) -> None:
        check(broken(kind), quick_directory, steps, seed)

    with pytest.raises(AssertionError):
        find()
