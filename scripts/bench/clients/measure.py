"""`rollbook bench clients`: the same clients on both sides, in one run.

Repeats are interleaved: every repeat measures each side once for each number of clients, so that
other load on the machine affects all of them alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from runtime.settings import Settings
from scripts.bench.clients.closed_loop import KINDS, Seen
from scripts.bench.clients.ours import run_ours
from scripts.bench.clients.peer import run_peer
from scripts.bench.peers.eventsourcing_library import peer_version, server_durability
from scripts.bench.report.measure import GOALS, Findings, Spread
from scripts.bench.workload.processes import running_handlers
from scripts.bench.workload.registry_under_test import fresh_registry

OURS: Final = "rollbook"
# The peer, by PostgreSQL's `synchronous_commit`.
PEERS: Final = {f"eventsourcing, commit {commit}": commit for commit in ("on", "off")}
_WARM_UP_CLIENTS: Final = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: see the options of the command."""

    clients: tuple[int, ...]
    seconds: float
    repeats: int
    with_peer: bool
    as_json: bool


def measure(settings: Settings, plan: Plan) -> Findings:
    """Measure everything in `plan` on the servers of `settings`."""
    findings = Findings(plan.as_json)
    with fresh_registry(settings) as own, running_handlers(own):
        findings.report("creating users until the broker's code is compiled")
        run_ours(own, _WARM_UP_CLIENTS, plan.seconds)
    for repeat in range(plan.repeats):
        findings.report(f"repeat {repeat + 1} of {plan.repeats}")
        for clients in plan.clients:
            with fresh_registry(settings) as own, running_handlers(own):
                _add(findings, OURS, clients, run_ours(own, clients, plan.seconds))
            for peer, commit in PEERS.items() if plan.with_peer else ():
                _add(findings, peer, clients, run_peer(settings, clients, commit, plan.seconds))
    return findings


def _add(findings: Findings, side: str, clients: int, found: dict[str, Seen]) -> None:
    for kind, one in found.items():
        name = f"{side}, {kind}, {clients}"
        findings.add(f"{name} per_second", one.per_second)
        findings.add(f"{name} ms p50", one.p50_ms)
        findings.add(f"{name} ms p99", one.p99_ms)


def spreads(plan: Plan, findings: Findings) -> dict[str, Spread]:
    """Return the spread of every ratio and figure by its name, the ratios first."""
    return findings.spreads(
        {
            f"ours / {peer}, {kind}, {clients}": (
                f"{OURS}, {kind}, {clients} per_second",
                f"{peer}, {kind}, {clients} per_second",
            )
            for peer in PEERS
            for kind in KINDS
            for clients in plan.clients
        }
    )


def as_json(
    settings: Settings, plan: Plan, findings: Findings, machine: dict[str, Any]
) -> dict[str, Any]:
    """Return the object that `--json` prints; without the peer, its figures are left out."""
    found = {name: one.as_json() for name, one in spreads(plan, findings).items()}
    sides = [OURS, *(PEERS if plan.with_peer else ())]
    result: dict[str, Any] = {
        "clients": list(plan.clients),
        "seconds_each": plan.seconds,
        "repeats": plan.repeats,
        "copies": settings.replication_factor,
        "machine": machine,
        "measured": {
            side: {
                kind: {str(n): _measured(found, f"{side}, {kind}, {n}") for n in plan.clients}
                for kind in KINDS
            }
            for side in sides
        },
    }
    if plan.with_peer:
        result["peer"] = f"eventsourcing {peer_version()}"
        result["durability"] = server_durability(settings)
        result["ratios"] = {
            peer: {
                kind: {str(n): found[f"ours / {peer}, {kind}, {n}"] for n in plan.clients}
                for kind in KINDS
            }
            for peer in PEERS
        }
    return result


def _measured(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "per_second": found[f"{name} per_second"],
        "ms": {cut: found[f"{name} ms {cut}"] for cut in ("p50", "p99")},
    }


def as_rows(plan: Plan, findings: Findings) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of the table: what was measured, its spread, the goal."""
    for name, one in spreads(plan, findings).items():
        yield name, str(one), GOALS.get(name, "")
