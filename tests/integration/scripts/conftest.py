"""A stack on which only Prometheus runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack.native.local import LocalStack
from scripts.stack.record import StackRecord, write_record
from tests.observed.alert_rules import program

PROGRAMS = ("prometheus", "prometheus-node-exporter")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """A stack with a supervisor and no servers: they have no part in this."""
    for name in PROGRAMS:
        program(name)
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    stack = LocalStack("observed")
    stack.supervisor.start()
    write_record(stack.directory, StackRecord("native", {}))
    yield stack
    stack.down(wipe=True)
