"""An erasure reaches a version that this release cannot write."""

from contextlib import closing

import pytest

from projectors.catalog import OURS, open_versions
from projectors.contract.read_model import Batch
from projectors.promises.events import erasure, user_event
from projectors.versions.leftovers import RemovesLeftovers
from runtime.settings import Settings
from tests.observed.read_models import ready_version


@pytest.mark.parametrize("name", OURS)
def test_who_is_gone_from_the_live_version_is_erased_from_the_other(
    store: Settings, name: str
) -> None:
    users = [user_event(number) for number in range(5)]
    with closing(open_versions(store, name)) as versions:
        assert isinstance(versions, RemovesLeftovers)
        versions.begin()
        other = ready_version(versions, *users)
        with closing(versions.open(1)) as live:
            live.write(Batch(users, {}))
            live.write(Batch([erasure(0, 2), erasure(1, 2)], {}))
            live.make_visible()
        assert [versions.erase_gone_users(other, 1) for _ in range(2)] == [2, 0]
        with closing(versions.open(other)) as model:
            model.make_visible()
            text = repr([row for page in model.rows() for row in page])
        assert [f"user{number}@" in text for number in range(5)] == [False, False, True, True, True]
