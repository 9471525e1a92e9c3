"""Every panel of the Grafana dashboard, asked of a real Prometheus that observes real processes."""

from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from schemas.topics import EVENTS
from scripts.stack.native.local import LocalStack
from tests.integration.foreign import ForeignWriter
from tests.started.observed_system import System
from tests.started.processes import Rollbook, eventually
from tests.unit.deploy.test_dashboard import PANELS

RUN = ("handler", "projector-postgres", "commands", "queries")
# What these show did not happen. tests/faults/servers/alerts makes some of it happen.
MAY_BE_EMPTY = {
    "Restores": "a restore ends before it is scraped",
    "Certificates": "no setting names one",
}


@pytest.fixture
def system(rollbook: Rollbook, bare: LocalStack) -> Iterator[System]:
    """A Prometheus of its own, which observes processes on the servers that all tests share."""
    with closing(System(rollbook, bare)) as system:
        system.start(*RUN)
        with system.load():
            system.wait_until_healthy()
            yield system


def test_prometheus_answers_every_panel(system: System) -> None:
    """Each query is valid, and has at least one series on a system that works."""
    ForeignWriter(system.settings).put(EVENTS, b"junk", b"nobody")  # becomes a dead letter
    missing = {
        target["expr"].replace("$__rate_interval", "1m"): panel["title"]
        for panel in PANELS
        for target in panel["targets"]
    }

    def all_are_answered() -> bool:
        for query in [query for query in missing if system.prometheus.query(query)]:
            del missing[query]
        return set(missing.values()) <= MAY_BE_EMPTY.keys()

    with suppress(AssertionError):
        eventually(all_are_answered, 30)
    assert set(missing.values()) <= MAY_BE_EMPTY.keys(), missing
