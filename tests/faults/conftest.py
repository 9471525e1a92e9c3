"""Servers to be taken away, and brought back for whoever comes next."""

import signal
from collections.abc import Iterator

import pytest

from scripts.stack.local import LocalStack
from tests.faults.outage import Servers
from tests.processes import Rollbook


@pytest.fixture(scope="session")
def stack(own_stack: LocalStack) -> LocalStack:
    """Never one that somebody named: its servers are killed."""
    return own_stack


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
