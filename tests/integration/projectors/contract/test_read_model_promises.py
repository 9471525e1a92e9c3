"""Every read model of ours keeps what all promise, on its real server."""

from contextlib import closing

import pytest

from projectors.catalog import OURS
from runtime.settings import Settings
from tests.read_model_promises import PROMISES, Promise, Trial, name_of


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
def test_a_read_model_keeps_its_promises(promise: Promise, name: str, store: Settings) -> None:
    with closing(Trial(lambda: OURS[name](store))) as trial:
        promise(trial)
