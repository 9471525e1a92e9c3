"""`rollbook bench services`: what is measured over HTTP, in which order.

Every repeat measures everything once, and for each number of clients one thing after the other, so
that other load on the machine affects all of them alike.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final

from runtime.settings import Settings
from schemas.errors import CheckFailed
from scripts.bench.report.measure import Findings
from scripts.bench.services import bulk
from scripts.bench.services.findings import Plan
from scripts.bench.services.load import Measured, Target, run_clients
from scripts.bench.services.processor import processor_seconds
from scripts.bench.services.system import System, running_system

# They work on requests of any kind; the processes of a service are added.
_SHARED: Final = ("handler", "kafka", "projector", "postgres")
_LEAST_ANSWERS: Final = 2
_MOST_WARM_UPS: Final = 8
_FASTER: Final = 1.03


def measure(settings: Settings, plan: Plan) -> Findings:
    """Measure everything in `plan` on the servers of `settings`.

    Raises `CheckFailed` if anything is answered otherwise than expected.
    """
    findings = Findings(plan.as_json)
    findings.report(f"filling the registry with {plan.users:,} users")
    spawn = multiprocessing.get_context("spawn")
    with (
        running_system(settings, plan.users, with_peer=plan.with_peer) as system,
        ProcessPoolExecutor(1, mp_context=spawn) as load,
    ):
        findings.report("creating users until the broker gets no faster")
        _warm_up(plan, system, load)
        for repeat in range(plan.repeats):
            findings.report(f"repeat {repeat + 1} of {plan.repeats}")
            measuring = _Repeat(plan, findings, system, load, repeat)
            for clients in plan.clients:
                measuring.closed_loops(clients)
            measuring.many_at_once()
    return findings


def _warm_up(plan: Plan, system: System, load: ProcessPoolExecutor) -> None:
    """Have the JVM compile the broker's code: cold, a creation costs it several times as much."""
    best = 0.0
    for number in range(_MOST_WARM_UPS):
        target = Target((system.ports["commands"],), system.key, tag=f"warm-up{number}")
        found = load.submit(run_clients, target, max(plan.clients), plan.seconds).result()
        system.users += found.answers
        if found.per_second < best * _FASTER:
            break
        best = found.per_second
    system.catch_up()


class _Repeat:
    """One repeat: every user that it creates has an address of its own."""

    def __init__(
        self,
        plan: Plan,
        findings: Findings,
        system: System,
        load: ProcessPoolExecutor,
        repeat: int,
    ) -> None:
        self._plan = plan
        self._findings = findings
        self._system = system
        self._load = load
        self._repeat = repeat

    def closed_loops(self, clients: int) -> None:
        """Measure each kind of request with so many clients."""
        system, tag = self._system, f"r{self._repeat}c{clients}"
        ports, key = system.ports, system.key
        self._request("noop", "noop", clients, Target((ports["noop"],), key))
        self._request("bare_noop", "bare_noop", clients, Target((ports["bare_noop"],)))
        gets = Target((ports["queries"],), key, user_ids=system.user_ids)
        self._request("get", "queries", clients, gets)
        if system.peer is not None:
            gets = Target(system.peer.ports[:1], user_ids=system.peer.user_ids)
            self._request("peer_get", "peer", clients, gets)
            creates = Target(system.peer.ports, tag=tag)
            self._request("peer_create", "peer", clients, creates)
        creates = Target((ports["commands"],), key, tag=tag)
        system.users += self._request("create", "commands", clients, creates)
        system.catch_up()
        run = partial(bulk.run_python_clients, system.settings, tag=f"{tag}p")
        system.users += self._run("python_create", None, clients, run)
        system.catch_up()

    def many_at_once(self) -> None:
        """Measure one request with many commands, and an import of as many users."""
        system, count, tag = self._system, self._plan.lines, f"r{self._repeat}"
        streamed = self._load.submit(
            bulk.stream_commands, system.ports["commands"], system.key, count, f"{tag}s"
        ).result()
        self._findings.add("streamed_per_second", count / streamed)
        system.users += count
        system.catch_up()
        imported = bulk.import_users(system.settings, count, f"{tag}i")
        self._findings.add("imported_per_second", count / imported)
        system.users += count
        system.catch_up()

    def _request(self, kind: str, service: str, clients: int, target: Target) -> int:
        return self._run(kind, service, clients, partial(run_clients, target))

    def _run(
        self, kind: str, service: str | None, clients: int, run: Callable[..., Measured]
    ) -> int:
        """Add what `run` measures, and the processor time per request; return the answers."""
        pids = {name: self._system.pids[name] for name in _SHARED}
        if service is not None:
            pids["service"] = self._system.pids[service]
        before = processor_seconds(pids)
        found = self._load.submit(run, clients=clients, seconds=self._plan.seconds).result()
        after = processor_seconds(pids)
        findings, name = self._findings, f"{kind} {clients}"
        if len(found.milliseconds) < _LEAST_ANSWERS:
            raise CheckFailed(f"too few requests were answered for {name}: measure longer")
        findings.add(f"{name} per_second", found.per_second)
        findings.add_percentiles(f"{name} ms", found.milliseconds)
        spent = {one: after[one] - before[one] for one in after}
        for one, seconds in ({"client": found.processor_seconds} | spent).items():
            findings.add(f"{name} us {one}", seconds / found.answers * 1e6)
        return found.answers
