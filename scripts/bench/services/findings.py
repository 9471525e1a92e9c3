"""What `rollbook bench services` reports: its figures, their ratios, and how both are shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from scripts.bench.peers.eventsourcing_library import peer_version
from scripts.bench.report.measure import GOALS, Findings, Spread

# What is measured with each number of clients, and what it is.
KINDS: Final = {
    "noop": "a no-op of our services: their framework, limits, key and access log",
    "bare_noop": "a no-op of plain FastAPI",
    "get": "a random user, read from PostgreSQL",
    "create": "a creation, answered when it is decided",
    "python_create": "the same from Python (AsyncCommandClient), without HTTP",
    "peer_get": "a random user of the peer",
    "peer_create": "a creation of the peer",
}
OF_PEER: Final = ("peer_get", "peer_create")
PROCESSES: Final = ("client", "service", "handler", "kafka", "projector", "postgres")
# Each is taken for every number of clients.
RATIOS: Final = {
    "get_vs_noop": ("get", "noop"),
    "create_vs_noop": ("create", "noop"),
    "create_vs_python": ("create", "python_create"),
    "get_vs_peer": ("get", "peer_get"),
    "create_vs_peer": ("create", "peer_create"),
}
_IMPORT_RATIO: Final = {"streamed_vs_imported": ("streamed_per_second", "imported_per_second")}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: see the options of the command."""

    users: int
    clients: tuple[int, ...]
    seconds: float
    lines: int
    repeats: int
    with_peer: bool
    as_json: bool


def spreads(plan: Plan, findings: Findings) -> dict[str, Spread]:
    """Return the spread of every ratio and figure by its name, the ratios first."""
    ratios = {
        f"{ratio} {clients}": (f"{ours} {clients} per_second", f"{theirs} {clients} per_second")
        for ratio, (ours, theirs) in RATIOS.items()
        for clients in plan.clients
    }
    return findings.spreads(ratios | _IMPORT_RATIO)


def as_json(plan: Plan, findings: Findings, machine: dict[str, Any]) -> dict[str, Any]:
    """Return the object that `--json` prints; without the peer, its figures are left out."""
    found = {name: one.as_json() for name, one in spreads(plan, findings).items()}
    kinds = [kind for kind in KINDS if plan.with_peer or kind not in OF_PEER]
    result: dict[str, Any] = {
        "users": plan.users,
        "clients": list(plan.clients),
        "seconds_each": plan.seconds,
        "lines": plan.lines,
        "repeats": plan.repeats,
        "machine": machine,
    }
    if plan.with_peer:
        result["peer"] = f"eventsourcing {peer_version()}"
    for ratio in RATIOS:
        of_clients = {str(n): found.pop(f"{ratio} {n}", None) for n in plan.clients}
        if None not in of_clients.values():
            result[ratio] = of_clients
    result["measured"] = {
        kind: {str(clients): _measured(found, f"{kind} {clients}") for clients in plan.clients}
        for kind in kinds
    }
    return result | found


def _measured(found: dict[str, Any], name: str) -> dict[str, Any]:
    """Take the figures of one kind of request out of `found`."""
    spent = {one: found.pop(f"{name} us {one}", None) for one in PROCESSES}
    return {
        "per_second": found.pop(f"{name} per_second"),
        "ms": {cut: found.pop(f"{name} ms {cut}") for cut in ("p50", "p99")},
        "processor_us": {one: figure for one, figure in spent.items() if figure is not None},
    }


def as_rows(plan: Plan, findings: Findings) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of the table: what was measured, its spread, the goal."""
    for name, one in spreads(plan, findings).items():
        yield name, str(one), GOALS.get(name, "")
