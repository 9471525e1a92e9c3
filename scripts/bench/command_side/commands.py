"""`rollbook bench commands`: what is measured on the command side, in which order, and the ratios.

Repeats are interleaved: every repeat measures each thing once, so that other load on the machine
affects all of them alike.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from producers.handler.members import GROUP
from runtime.settings import Settings
from scripts.bench.command_side import passthrough, state_size
from scripts.bench.command_side.lone_client import STEPS, lone_command_ms, lone_steps_ms
from scripts.bench.peers import eventsourcing_library
from scripts.bench.peers.eventsourcing_library import PeerSetup
from scripts.bench.report.measure import GOALS, Findings, Spread, machine, ratios, spread
from scripts.bench.workload.processes import await_commits, running_handlers, warm_up
from scripts.bench.workload.registry_under_test import fresh_registry, send_creates

DEFAULT_PEER: Final = PeerSetup(1, "on", functions=False)
_OURS: Final = "creates_per_second"
_ONE_CLIENT: Final = "closed_loop_creates_per_second"
_RATIOS: Final = {
    "vs_passthrough": (_OURS, "passthrough_per_second"),
    "two_process_speedup": ("two_process_creates_per_second", _OURS),
    "vs_eventsourcing": (_OURS, str(DEFAULT_PEER)),
    # Like with like: one client on each side, which waits for each answer.
    "closed_loop_vs_eventsourcing": (_ONE_CLIENT, str(DEFAULT_PEER)),
}


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
class CommandFindings:
    """The figures, the failures that each writer survives, and the machine."""

    plan: Plan
    figures: Findings
    durability: dict[str, str]
    machine: dict[str, Any]

    def spreads(self) -> dict[str, Spread]:
        """Return every figure except those of the peer's setups, the ratios first."""
        found = self.figures.spreads(_RATIOS)
        return {name: one for name, one in found.items() if name not in map(str, self.plan.peers)}

    def of_peer(self, setup: PeerSetup) -> tuple[Spread, Spread]:
        """Return a peer's creations per second, and how many times as fast ours is."""
        theirs = self.figures.values[str(setup)]
        return spread(theirs), ratios(self.figures.values[_OURS], theirs)


def measure(settings: Settings, plan: Plan) -> CommandFindings:
    """Measure everything in `plan` on the servers of `settings`."""
    copies = settings.replication_factor
    brokers = f"all {copies} brokers at once" if copies > 1 else "the broker"
    durability = {
        _OURS: "client, handler and broker crash; but for the last seconds: power cut of "
        f"{brokers} (acks=all, no fsync)"
    }
    findings = CommandFindings(plan, Findings(plan.as_json), durability, machine())
    if plan.peers:
        durability |= eventsourcing_library.server_durability(settings)
    for repeat in range(plan.repeats):
        findings.figures.report(f"repeat {repeat + 1} of {plan.repeats}")
        _one_process(settings, plan, findings.figures)
        for setup in plan.peers:
            rate = eventsourcing_library.peer_creates_per_second(
                settings, setup, plan.users, plan.peer_seconds
            )
            findings.figures.add(str(setup), rate)
        is_last = repeat == plan.repeats - 1
        _two_processes(settings, plan, findings.figures, is_last=is_last)
    return findings


def _one_process(settings: Settings, plan: Plan, figures: Findings) -> None:
    with fresh_registry(settings) as own:
        with running_handlers(own) as handler:
            rate = _creates_per_second(own, own.named(GROUP), plan.users, handler.alive)
            figures.add(_OURS, rate)
            milliseconds = lone_command_ms(own)
            figures.add_percentiles("single_command_ms", milliseconds)
            figures.add(_ONE_CLIENT, 1000 * len(milliseconds) / sum(milliseconds))
        for step, mean_ms in lone_steps_ms(own).items():
            figures.add(f"single_command_mean_ms {step}", mean_ms)
        rates = {}
        for size in passthrough.COMMANDS_PER_TRANSACTION:
            with fresh_registry(settings) as limit:
                rates[_passthrough_per_second(limit, plan.users, own, size)] = size
        figures.add("passthrough_per_second", max(rates))
        figures.add("passthrough_commands_per_transaction", rates[max(rates)])


def _two_processes(settings: Settings, plan: Plan, figures: Findings, *, is_last: bool) -> None:
    """Measure two handler processes; the last time they also create the users to restore."""
    with fresh_registry(settings) as own:
        with running_handlers(own, 2) as handler:
            rate = _creates_per_second(own, own.named(GROUP), plan.users, handler.alive)
            figures.add("two_process_creates_per_second", rate)
            if is_last:
                state_size.fill(own, plan.state_users, handler.alive, figures.report)
        if is_last:
            _restores(own, plan, figures)


def _creates_per_second(
    settings: Settings, group: str, count: int, alive: Callable[[], bool]
) -> float:
    """Have the running members of `group` decide `count` creations.

    The clock runs from the moment all commands are on the log to the commit of the last: reading,
    deciding, writing and committing.
    """
    ends = send_creates(settings, count, at_once=True)
    started = time.perf_counter()
    await_commits(settings, group, ends, alive)
    return count / (time.perf_counter() - started)


def _passthrough_per_second(
    settings: Settings, count: int, copied: Settings, commands_per_transaction: int
) -> float:
    """Have one process answer `count` creations with what the handler wrote in `copied`.

    With the same clock: the upper bound of a handler process.
    """
    group = settings.named(passthrough.GROUP)
    process = multiprocessing.get_context("spawn").Process(
        target=passthrough.pass_through, args=(settings, copied, commands_per_transaction)
    )
    process.start()
    try:
        warm_up(settings, group, process.is_alive)
        return _creates_per_second(settings, group, count, process.is_alive)
    finally:
        process.terminate()
        process.join()


def _restores(settings: Settings, plan: Plan, figures: Findings) -> None:
    for repeat in range(plan.repeats):
        figures.report(f"restore {repeat + 1} of {plan.repeats}")
        restored = state_size.restore_in_own_process(settings)
        figures.add("restore_users_per_second", restored.users / restored.seconds)
        old = state_size.restore_in_own_process(settings, with_outcomes=False)
        figures.add("restore_old_users_per_second", old.users / old.seconds)
        figures.add("bytes_per_user", restored.users_bytes / restored.users)
        figures.add("window_bytes_per_command", restored.window_bytes / restored.outcomes)


def as_json(findings: CommandFindings) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    spreads = {name: one.as_json() for name, one in findings.spreads().items()}
    single = {name: spreads.pop(f"single_command_ms {name}") for name in ("p50", "p99")}
    steps = {step: spreads.pop(f"single_command_mean_ms {step}") for step in STEPS}
    plan = findings.plan
    result: dict[str, Any] = {
        "users": plan.users,
        "state_users": plan.state_users,
        "machine": findings.machine,
        **spreads,
        "single_command_ms": single,
        "single_command_mean_ms": steps,
        "durability": findings.durability[_OURS],
    }
    if plan.peers:
        result["eventsourcing"] = {
            "version": eventsourcing_library.peer_version(),
            "seconds_each": plan.peer_seconds,
            "measured": [_peer_json(findings, setup) for setup in plan.peers],
        }
    return result


def _peer_json(findings: CommandFindings, setup: PeerSetup) -> dict[str, Any]:
    theirs, ours_over_it = findings.of_peer(setup)
    return {
        "clients": setup.clients,
        "synchronous_commit": setup.synchronous_commit,
        "functions": setup.functions,
        "creates_per_second": theirs.as_json(),
        "ours_over_it": ours_over_it.as_json(),
        "durability": findings.durability[setup.synchronous_commit],
    }


def as_rows(findings: CommandFindings) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of the table: what was measured, its spread, the goal, what it survives."""
    for name, one in findings.spreads().items():
        yield name, str(one), GOALS.get(name, ""), findings.durability.get(name, "")
    for setup in findings.plan.peers:
        theirs, ours_over_it = findings.of_peer(setup)
        yield str(setup), str(theirs), "", findings.durability[setup.synchronous_commit]
        yield f"ours over {setup}", str(ours_over_it), "", ""
