"""Every read model of ours keeps what all promise, on its real server."""

import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from projectors.wiring import OURS
from runtime.settings import Settings, load_settings
from scripts.bench.stores import remove_read_models
from scripts.stack.local import LocalStack
from tests.read_model_promises import PROMISES, Promise, Trial, name_of


@pytest.fixture
def store(stack: LocalStack) -> Iterator[Settings]:
    """Settings of an empty store; no promise needs a log."""
    flags = {"prefix": f"p{uuid.uuid4().hex[:10]}", "partitions": 4}
    settings = load_settings(flags, config=str(stack.config_file)).settings
    yield settings
    remove_read_models(settings)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
def test_a_read_model_keeps_its_promises(promise: Promise, name: str, store: Settings) -> None:
    with closing(Trial(lambda: OURS[name](store))) as trial:
        promise(trial)
