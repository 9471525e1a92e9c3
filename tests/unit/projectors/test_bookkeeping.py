"""The steps of rollbook's own tables and indexes leave the release before them usable."""

from collections.abc import Sequence

import pytest

from projectors.contract.refusals import check_format
from projectors.elasticsearch.index import bookkeeping as elasticsearch
from projectors.postgres.store import bookkeeping as postgres
from schemas.errors import Misconfigured


@pytest.mark.parametrize("steps", [postgres.STEPS, elasticsearch.STEPS])
def test_a_step_requires_no_more_than_the_format_before_it(
    steps: Sequence[postgres.Step | elasticsearch.Step],
) -> None:
    """Otherwise a downgrade to the previous release would be refused after every upgrade."""
    for before, step in enumerate(steps):
        assert step.required <= before


def test_a_store_is_refused_only_if_it_requires_a_later_format() -> None:
    check_format("the store", required=2, known=2)
    with pytest.raises(Misconfigured) as refused:
        check_format("the store", required=3, known=2)
    assert refused.value.code == "newer_bookkeeping"
    assert str(refused.value).startswith("the store has been changed by a later rollbook")
