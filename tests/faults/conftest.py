"""Servers to be taken away: its tests run first of a worker's, and bring all of them back."""

import signal
from collections.abc import Iterator

import pytest

from scripts.stack.local import LocalStack
from tests.faults.outage import Servers
from tests.processes import Rollbook


@pytest.fixture
def servers(stack: LocalStack, rollbook: Rollbook) -> Iterator[Servers]:
    """The servers, to be taken away; the next test finds all of them again."""
    servers = Servers(stack)
    try:
        yield servers
    finally:
        rollbook.stop_all()
        servers.send("kafka", signal.SIGCONT)
        servers.bring_back(*stack.servers())
