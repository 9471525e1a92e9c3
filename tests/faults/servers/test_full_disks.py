"""A server's disk fills up under load: what it holds is kept, and it goes on once there is room."""

import os
from pathlib import Path

import pytest

from scripts.stack.native.local import LocalStack
from tests.depth import DEEP
from tests.faults.nemesis.plan import Plan, Step
from tests.faults.nemesis.run import run

pytestmark = [
    pytest.mark.skipif(not DEEP, reason="takes minutes; in `make test-deep`"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system"),
]
SERVERS = {
    "kafka": "broker's disk full",
    "postgres": "PostgreSQL's disk full",
    "elasticsearch": "Elasticsearch's disk full",
}


@pytest.mark.parametrize("server", SERVERS)
def test_nothing_is_lost_or_wrong(stack: LocalStack, tmp_path: Path, server: str) -> None:
    step = Step(SERVERS[server], server, delay=2, held=10, seed=1)
    result, _ = run(Plan(1, ((step,),)), stack, tmp_path)
    assert result.violations == []
    assert result.faults[f"disk of {server} full"] == 1
