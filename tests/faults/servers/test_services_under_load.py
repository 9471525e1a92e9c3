"""Servers killed and frozen while callers use both services: no untrue answer, and nothing lost.

Callers repeat what was not answered, as docs/http.md advises. In the end every answer is compared
with the log, every stream with the events, and both stores with the log.
"""

import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import pytest

from runtime.settings import Settings
from tests.depth import DEEP
from tests.faults.load.commands import ACCEPTED, REJECTED, SILENCE, UNDECIDED, Commands
from tests.faults.load.ledger import Ledger
from tests.faults.load.queries import (
    EVENTS,
    GETS,
    SEARCHES,
    Queries,
    by_partition,
    event_places,
)
from tests.faults.outage import Servers, start_all
from tests.observed.catch_up import wait_caught_up
from tests.started.processes import Rollbook
from tests.started.services import Service

SEED = 20_261_129
# Longer than a broker's sessions and transactions last here, and than a caller waits.
FROZEN_SECONDS = 13
# What is answered although a server is away.
UNAFFECTED = {
    "kafka": (GETS, SEARCHES),
    "postgres": (SEARCHES, EVENTS, ACCEPTED),
    "elasticsearch": (GETS, EVENTS, ACCEPTED),
    "registry": (GETS, SEARCHES, EVENTS, ACCEPTED),
    "queries": (ACCEPTED,),
}
REFUSED = {"postgres": GETS, "elasticsearch": SEARCHES, "queries": GETS}


class Fault(NamedTuple):
    """A server, or the service for queries, and what happens to it."""

    server: str
    is_frozen: bool = False


ALL = [
    *(Fault(server) for server in UNAFFECTED),
    *(Fault(server, is_frozen=True) for server in UNAFFECTED if server != "queries"),
]


class Load:
    """Callers of both services."""

    def __init__(self, rollbook: Rollbook) -> None:
        self._rollbook = rollbook
        self._services = [Service(rollbook, "commands"), Service(rollbook, "queries")]
        self.commands = Commands(self._services[0], SEED)
        self.queries = Queries(self._services[1], self.commands, SEED)

    def wait_for(self, *kinds: str) -> None:
        """Wait until more of each kind of request are answered."""
        self.queries.wait_for(*(kind for kind in kinds if kind != ACCEPTED))
        if ACCEPTED in kinds:
            self.commands.wait_for(20, ACCEPTED)

    def wait_for_failures_of(self, server: str) -> None:
        """Wait until callers were told that a server is unavailable."""
        if server == "kafka":
            self.commands.wait_for(2, UNDECIDED)
        elif server in REFUSED:
            self.queries.wait_for_refusals(REFUSED[server])

    def finish(self, settings: Settings) -> dict[int, list[int]]:
        """End it once all is decided, answered and read; return the events as `event_places`."""
        self.commands.stop()
        self.queries.stop()
        places = event_places(settings)
        for stream in self.queries.streams:
            stream.wait_for(sum(map(len, places.values())))
        return places

    @contextmanager
    def suffering(self, fault: Fault, servers: Servers) -> Iterator[None]:
        """Make a server or service suffer inside the `with` block; afterwards one answers again."""
        if fault.server == "queries":
            self.queries.service.process.kill()
            yield
            self._services.append(Service(self._rollbook, "queries"))
            self.queries.service = self._services[-1]
        elif fault.is_frozen:
            with servers.frozen(fault.server):
                yield
                time.sleep(FROZEN_SECONDS)  # the time that passes is the fault
        else:
            servers.crash(fault.server)
            try:
                yield
            finally:
                servers.bring_back(fault.server)

    def close(self) -> None:
        """Stop the services, which ends the streams."""
        self.commands.stop()
        self.queries.close()
        for running in (self.commands.service, self.queries.service):
            assert running.process.stop() == 0
        for stream in self.queries.streams:
            stream.join()
        for service in self._services:
            service.http.close()


@pytest.mark.skipif(
    not DEEP, reason="test_nemesis.py kills Kafka under load, too; in `make test-deep`"
)
def test_every_answer_is_true_whatever_happens_to_servers(
    settings: Settings, rollbook: Rollbook, servers: Servers
) -> None:
    rollbook.overrides["ROLLBOOK_TRANSACTION_TIMEOUT_SECONDS"] = "3"
    start_all(rollbook)
    with closing(Load(rollbook)) as load:
        for fault in random.Random(SEED).sample(ALL, len(ALL)):
            load.wait_for(ACCEPTED, GETS, SEARCHES, EVENTS)
            with load.suffering(fault, servers):
                load.wait_for(*UNAFFECTED[fault.server])
                load.wait_for_failures_of(fault.server)
        load.wait_for(ACCEPTED, GETS, SEARCHES, EVENTS)
        places = load.finish(settings)
    ledger = Ledger(settings)
    assert ledger.flaws(load.commands.tracked) == []
    assert load.commands.flaws + load.queries.flaws == []
    assert load.queries.less_than_promised(ledger.erased_at()) == []
    assert [by_partition(stream.places) for stream in load.queries.streams] == [places] * 2
    assert load.commands.count(REJECTED) > 0
    assert load.commands.count(SILENCE) == 0
    wait_caught_up(settings)
    rollbook.ndjson("verify")
