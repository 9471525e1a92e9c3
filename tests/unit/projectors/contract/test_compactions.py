"""A read model is the same whatever compaction removed from the log and whatever failed.

These tests use a read model in a file, because it is fast; the module of the same name in
`tests/integration` runs the product's read models on their servers. `make test-deep` tries many
more examples. A failure prints the shrunk steps and the seed that lead to it.
"""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings

from runtime.settings import Settings
from tests.depth import depth
from tests.examples.domains import DomainUsers, DomainVersions
from tests.observed.compactions import SEEDS, STEPS, Steps
from tests.started.killed_projector import check_live_equals_rebuilt
from tests.unit.projectors.contract.broken_domains import (
    ForgetsTheDeleted,
    IgnoresVersions,
    NeverUpdates,
    broken,
)

EXAMPLES = settings(max_examples=depth(40, 2_000), deadline=None, print_blob=True)
UNTIL_FOUND = settings(
    EXAMPLES, max_examples=1_000, phases=[Phase.generate], database=None, derandomize=True
)


def check(kind: type[DomainVersions], place: Path, steps: Steps, seed: int) -> None:
    with (
        TemporaryDirectory(dir=place) as directory,
        closing(kind(Settings(state_directory=directory))) as versions,
    ):
        check_live_equals_rebuilt(versions, steps, seed)


@EXAMPLES
@given(steps=STEPS, seed=SEEDS)
def test_a_live_read_model_equals_a_rebuild_from_any_compaction(
    quick_directory: Path, steps: Steps, seed: int
) -> None:
    check(DomainVersions, quick_directory, steps, seed)


@pytest.mark.parametrize("kind", [ForgetsTheDeleted, IgnoresVersions, NeverUpdates])
def test_a_wrong_read_model_is_detected(kind: type[DomainUsers], quick_directory: Path) -> None:
    """A check that cannot fail proves nothing."""

    @UNTIL_FOUND
    @given(STEPS, SEEDS)
    def find(steps: Steps, seed: int) -> None:
        check(broken(kind), quick_directory, steps, seed)

    with pytest.raises(AssertionError):
        find()
