"""`rollbook bench commands`: what is measured of the command side, in which order, and its ratios.

Repeats are interleaved: every repeat measures each thing once, so that what the machine does beside
falls on all alike.
"""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from runtime.settings import Settings
from runtime.terminal import say
from scripts.bench import peer, state_size, write_side
from scripts.bench.handlers import running_handlers
from scripts.bench.measure import Spread, percentiles, ratios, spread
from scripts.bench.peer import PeerSetup
from scripts.bench.registry_under_test import fresh_registry

GOALS = {
    "vs_passthrough": "≥ 0.3, then 0.5",
    "vs_eventsourcing": "≥ 50",
    "single_command_ms p50": "≤ 15",
    "single_command_ms p99": "≤ 60",
    "bytes_per_user": "≤ 400",
    "restore_users_per_second": "≥ 100,000",
}
_AS_IT_COMES = PeerSetup(1, "on", functions=False)
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: see the options of the command."""

    users: int
    repeats: int
    state_users: int
    peers: tuple[PeerSetup, ...]
    peer_seconds: float
    as_json: bool


@dataclass(slots=True)
class Findings:
    """What was measured, a value a repeat, and what survives which failure."""

    plan: Plan
    values: dict[str, list[float]] = field(default_factory=dict)
    peers: dict[PeerSetup, list[float]] = field(default_factory=dict)
    durability: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Add the value of one repeat."""
        self.values.setdefault(name, []).append(value)
        self.tell(f"  {name}: {value:,.0f}")

    def add_peer(self, setup: PeerSetup, value: float) -> None:
        """Add one repeat of the peer."""
        self.peers.setdefault(setup, []).append(value)
        self.tell(f"  {setup}: {value:,.0f}")

    def tell(self, message: str) -> None:
        """Tell people how far it has come."""
        if not self.plan.as_json:
            say(message)

    def spreads(self) -> dict[str, Spread]:
        """Return every figure but the peers', ratios included."""
        ours = self.values["creates_per_second"]
        found = {name: spread(values) for name, values in self.values.items()}
        found["vs_passthrough"] = ratios(ours, self.values["passthrough_per_second"])
        found["two_process_speedup"] = ratios(self.values["two_process_creates_per_second"], ours)
        if self.peers:
            found["vs_eventsourcing"] = ratios(ours, self.peers[_AS_IT_COMES])
        return found

    def over_peer(self, setup: PeerSetup) -> Spread:
        """Return how many times as fast ours is."""
        return ratios(self.values["creates_per_second"], self.peers[setup])


def measure(settings: Settings, plan: Plan) -> Findings:
    """Measure everything in `plan` on the servers of `settings`."""
    findings = Findings(plan)
    copies = settings.replication_factor
    brokers = f"all {copies} brokers at once" if copies > 1 else "the broker"
    findings.durability["creates_per_second"] = (
        f"client, handler and broker crash; but for the last seconds: power cut of {brokers}"
        " (acks=all, no fsync)"
    )
    if plan.peers:
        findings.durability |= peer.server_durability(settings)
    for repeat in range(plan.repeats):
        findings.tell(f"repeat {repeat + 1} of {plan.repeats}")
        _one_process(settings, findings)
        for setup in plan.peers:
            rate = peer.peer_creates_per_second(settings, setup, plan.users, plan.peer_seconds)
            findings.add_peer(setup, rate)
        _two_processes(settings, findings, is_last=repeat == plan.repeats - 1)
    return findings


def _one_process(settings: Settings, findings: Findings) -> None:
    users = findings.plan.users
    with fresh_registry(settings) as own:
        with running_handlers(own) as alive:
            rate = write_side.handler_creates_per_second(own, users, alive)
            findings.add("creates_per_second", rate)
            for name, value in _single_command(own):
                findings.add(name, value)
        with fresh_registry(settings) as limit:
            rate = write_side.passthrough_per_second(limit, users, copied=own)
            findings.add("passthrough_per_second", rate)


def _two_processes(settings: Settings, findings: Findings, *, is_last: bool) -> None:
    """Measure two handler processes; the last time, have them make the users to restore as well."""
    plan = findings.plan
    with fresh_registry(settings) as own:
        with running_handlers(own, 2) as alive:
            rate = write_side.handler_creates_per_second(own, plan.users, alive)
            findings.add("two_process_creates_per_second", rate)
            if is_last:
                state_size.fill(own, plan.state_users, alive, as_json=plan.as_json)
        if is_last:
            _restores(own, findings)


def _single_command(settings: Settings) -> Iterator[tuple[str, float]]:
    p50, p99 = percentiles(write_side.lone_command_ms(settings))
    yield "single_command_ms p50", p50
    yield "single_command_ms p99", p99


def _restores(settings: Settings, findings: Findings) -> None:
    for repeat in range(findings.plan.repeats):
        findings.tell(f"restore {repeat + 1} of {findings.plan.repeats}")
        whole = state_size.restore_in_own_process(settings, window=True)
        findings.add("restore_users_per_second", whole.users / whole.seconds)
        bare = state_size.restore_in_own_process(settings, window=False)
        findings.add("bytes_per_user", bare.resident_bytes / bare.users)
        kept = max(1, whole.outcomes - bare.outcomes)
        window = (whole.resident_bytes - bare.resident_bytes) / kept
        findings.add("window_bytes_per_command", window)


def as_json(findings: Findings) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    spreads = {name: one.as_json() for name, one in findings.spreads().items()}
    single = {name: spreads.pop(f"single_command_ms {name}") for name in ("p50", "p99")}
    plan = findings.plan
    result: dict[str, Any] = {
        "users": plan.users,
        "state_users": plan.state_users,
        "machine": machine(),
        **spreads,
        "single_command_ms": single,
        "durability": findings.durability["creates_per_second"],
    }
    if plan.peers:
        result["eventsourcing"] = {
            "version": peer.peer_version(),
            "seconds_each": plan.peer_seconds,
            "measured": [_peer_json(findings, setup) for setup in plan.peers],
        }
    return result


def _peer_json(findings: Findings, setup: PeerSetup) -> dict[str, Any]:
    return {
        "clients": setup.clients,
        "synchronous_commit": setup.synchronous_commit,
        "functions": setup.functions,
        "creates_per_second": spread(findings.peers[setup]).as_json(),
        "ours_over_it": findings.over_peer(setup).as_json(),
        "durability": findings.durability[setup.synchronous_commit],
    }


def as_rows(findings: Findings) -> Iterator[tuple[str, str, str, str]]:
    """Yield what people read: what was measured, its spread, the goal, what survives a failure."""
    for name, one in findings.spreads().items():
        yield name, str(one), GOALS.get(name, ""), findings.durability.get(name, "")
    for setup in findings.plan.peers:
        durability = findings.durability[setup.synchronous_commit]
        yield str(setup), str(spread(findings.peers[setup])), "", durability
        yield f"ours over {setup}", str(findings.over_peer(setup)), "", ""


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(memory / _GIB, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
