"""Servers of this folder's own: its tests kill them, which no other test may notice."""

import os
import signal
from collections.abc import Iterator

import pytest

from runtime.settings import Settings
from scripts.stack.local import LocalStack
from tests.faults.outage import Servers
from tests.processes import Rollbook


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """A stack on free ports, wiped at the end; ROLLBOOK_FAULT_STACK names a running one instead."""
    named = os.environ.get("ROLLBOOK_FAULT_STACK")
    stack = LocalStack(named or f"faults-{os.getpid()}")
    stack.up(free_ports=True, report=print)
    try:
        yield stack
    finally:
        if not named:
            stack.down(wipe=True)


@pytest.fixture
def servers(stack: LocalStack, settings: Settings, rollbook: Rollbook) -> Iterator[Servers]:
    """The servers, to be taken away; the next test finds all of them again."""
    servers = Servers(stack)
    try:
        yield servers
    finally:
        rollbook.stop_all()
        servers.send("kafka", signal.SIGCONT)
        servers.bring_back(*stack.servers())
