"""The system under test, whose servers can be broken."""

from pathlib import Path

from scripts.stack.native.local import LocalStack
from tests.faults.outage import Servers
from tests.started.observed_system import System as ObservedSystem
from tests.started.processes import Rollbook


class System(ObservedSystem):
    """A system whose servers can be broken."""

    def __init__(
        self, rollbook: Rollbook, stack: LocalStack, servers: Servers, rules: Path
    ) -> None:
        super().__init__(rollbook, stack, rules)
        self.servers = servers
