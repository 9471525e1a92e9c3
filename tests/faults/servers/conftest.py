"""Servers that a test may kill or freeze; they run again before the next test."""

import os
import signal
from collections.abc import Iterator

import pytest

from scripts.stack.native.local import LocalStack
from tests.conftest import FAULTS_STACK, start_stack
from tests.faults.outage import Servers
from tests.started.processes import Rollbook


@pytest.fixture(scope="session")
def stack() -> LocalStack:
    """A second stack, because other tests are using the servers of the shared one."""
    return start_stack(os.environ[FAULTS_STACK])


@pytest.fixture
def servers(stack: LocalStack, rollbook: Rollbook) -> Iterator[Servers]:
    """The servers to kill or freeze; all of them are started again afterwards."""
    servers = Servers(stack)
    try:
        yield servers
    finally:
        rollbook.stop_all()
        servers.send("kafka", signal.SIGCONT)
        servers.bring_back(*stack.servers())
