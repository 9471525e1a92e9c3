"""Every alert fires in a real Prometheus when what it is about is broken, and clears when repaired.

The rules are a copy with shorter durations, and nothing else changed; the faults are real. The last
table is in docs/monitoring.md.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from schemas.topics import EMAILS, EVENTS, HISTORY
from scripts.stack.native.local import LocalStack
from scripts.stack.observe.prometheus import NODE_EXPORTER
from tests.depth import DEEP
from tests.faults.outage import Servers
from tests.faults.servers.alerts.breakable import System
from tests.faults.servers.alerts.faults import FAULTS, Fault, Labels
from tests.faults.servers.alerts.shortened import factor_of, write_shortened
from tests.observed.alert_rules import alerts, program
from tests.observed.log import alter_topics
from tests.samples.certificates import certificate_pem
from tests.started.observed_system import PROCESSES
from tests.started.processes import Rollbook, eventually

_SEGMENT_MS = "10000"
# Six times as long in a deep test.
_FIRES_SECONDS = 50
_CLEARS_SECONDS = 80


@contextmanager
def observed(rollbook: Rollbook, stack: LocalStack, servers: Servers) -> Iterator[System]:
    """Run everything inside the `with` block, healthy and under load."""
    rules = write_shortened(rollbook.directory / "rules.yml")
    # A broker that is frozen for seconds must not end the sessions of its clients.
    rollbook.overrides["ROLLBOOK_SESSION_TIMEOUT_SECONDS"] = "20"
    system = System(rollbook, stack, servers, rules)
    try:
        system.certificate.write_bytes(certificate_pem(days=90))
        alter_topics(rollbook.settings, (EVENTS, HISTORY, EMAILS), segment_ms=_SEGMENT_MS)
        system.start(*PROCESSES)
        with system.load():
            system.wait_until_healthy()
            yield system
    finally:
        system.close()
        for name in ("prometheus", NODE_EXPORTER):
            stack.supervisor.stop(name)


def firing(system: System, expected: Mapping[str, Labels]) -> set[str]:
    """Return those of the expected alerts that fire."""
    found = system.prometheus.firing()
    return {
        name
        for name, labels in expected.items()
        if any(labels.items() <= one.items() for one in found.get(name, ()))
    }


def times_until(system: System, expected: Mapping[str, Labels], *, fires: bool) -> dict[str, float]:
    """Wait until all of these alerts fire, or none; return the seconds that each took."""
    began, seconds = time.monotonic(), dict[str, float]()

    def all_have() -> bool:
        now = firing(system, expected)
        for name in now if fires else expected.keys() - now:
            seconds.setdefault(name, time.monotonic() - began)
        return now == (expected.keys() if fires else set())

    limit = _FIRES_SECONDS if fires else _CLEARS_SECONDS
    eventually(all_have, limit, f"{', '.join(expected)} {'fire' if fires else 'clear'}")
    return seconds


def rows(system: System, fault: Fault) -> list[str]:
    """Break something and repair it, see its alerts fire and clear; return lines of the table."""
    eventually(lambda: not firing(system, fault.fires), _CLEARS_SECONDS, f"quiet: {fault.fires}")
    with fault.cause(system):
        fired = times_until(system, fault.fires, fires=True)
    cleared = times_until(system, fault.fires, fires=False)
    known = alerts()
    return [
        f"| {name} | {fault.what} | {factor_of(known[name])} | {fired[name]:.0f} s "
        f"| {cleared[name]:.0f} s |"
        for name in fault.fires
    ]


def test_every_alert_has_a_fault() -> None:
    assert {name for faults in FAULTS.values() for one in faults for name in one.fires} == set(
        alerts()
    )


@pytest.mark.skipif(not DEEP, reason="minutes for each: in make test-deep")
@pytest.mark.parametrize("group", FAULTS)
def test_alerts_fire_and_clear(
    rollbook: Rollbook, stack: LocalStack, servers: Servers, group: str
) -> None:
    for name in ("prometheus", "prometheus-node-exporter"):
        program(name)
    with observed(rollbook, stack, servers) as system:
        for fault in FAULTS[group]:
            for row in rows(system, fault):
                print(row, flush=True)  # noqa: T201 - the result
