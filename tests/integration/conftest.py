"""What the tests of this folder share beyond the servers."""

import uuid
from collections.abc import Iterator

import pytest

from projectors.catalog import OURS
from runtime.settings import Settings, load_settings
from scripts.bench.workload.stores import remove_read_models
from scripts.stack.native.local import LocalStack
from tests.conftest import PARTITIONS
from tests.started.processes import Rollbook, RunningProcess


@pytest.fixture
def store(stack: LocalStack) -> Iterator[Settings]:
    """Settings of empty stores, for what needs no log."""
    flags = {"prefix": f"s{uuid.uuid4().hex[:10]}", "partitions": PARTITIONS}
    settings = load_settings(flags, config=str(stack.config_file)).settings
    yield settings
    remove_read_models(settings)


@pytest.fixture
def projector(rollbook: Rollbook) -> RunningProcess:
    """The projector of PostgreSQL, running."""
    return rollbook.start_projector("postgres")


@pytest.fixture
def projectors(rollbook: Rollbook) -> dict[str, RunningProcess]:
    """The projectors of all read models, running."""
    return {name: rollbook.start_projector(name) for name in OURS}
