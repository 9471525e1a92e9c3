"""Repeats one fault under load, and compares every answer with the log."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from scripts.stack.brokers import BROKERS
from scripts.stack.native.local import LocalStack
from scripts.stack.places import HOST
from tests.faults.brokers.cluster import Cluster
from tests.faults.brokers.relays import relayed
from tests.faults.brokers.stalls import Stalls
from tests.faults.load.commands import Commands
from tests.faults.load.ledger import Ledger
from tests.faults.outage import start_all
from tests.observed.catch_up import wait_caught_up
from tests.started.processes import Rollbook, RunningProcess
from tests.started.services import Service

SEED: Final = 20_261_128
CUT_OFF: Final = "one broker is cut off from the others"
JOINED: Final = "a handler starts at a broker that is cut off"
_Fault = Callable[[Cluster, str], AbstractContextManager[None]]
FAULTS: Final[Mapping[str, _Fault]] = {
    "a broker is killed": Cluster.killed,
    "a broker is frozen": Cluster.frozen,
    "each broker is restarted": Cluster.restarted,
    CUT_OFF: Cluster.cut_off,
    JOINED: Cluster.joined_when_cut_off,
    "all brokers are killed": Cluster.all_killed,
}


@dataclass
class Result:
    """What came of the repetitions of a fault."""

    fault: str
    stalls_seconds: list[float] = field(default_factory=list)
    confirmed: int = 0
    lost: int = 0
    flaws: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "fault": self.fault,
            "repetitions": len(self.stalls_seconds),
            "stalled_seconds_p50": round(median(self.stalls_seconds), 1),
            "stalled_seconds_worst": round(max(self.stalls_seconds), 1),
            "confirmed_commands": self.confirmed,
            "lost": self.lost,
        }


def run(fault: str, rollbook: Rollbook, stack: LocalStack, repetitions: int) -> Result:
    """Repeat a fault with one broker after the other; return what was found."""
    settings, result = rollbook.settings, Result(fault)
    with _cluster(fault, rollbook, stack) as cluster:
        cluster.start_handler = _Handlers(rollbook, stack, start_all(rollbook)["handler"])
        service = Service(rollbook, "commands")
        load = Commands(service, SEED, callers=3)
        probes = Stalls(service, settings)
        try:
            for number in range(repetitions):
                broker = BROKERS[number % len(BROKERS)]
                cluster.recover()
                probes.wait_for_all()
                began_ms = time.time_ns() // 1_000_000
                with FAULTS[fault](cluster, broker):
                    probes.wait_for_all()
                cluster.recover()
                probes.wait_for_all()
                result.stalls_seconds.append(probes.longest_seconds(began_ms))
        finally:
            for one in (load, probes):
                one.stop()
        _compare(result, rollbook, load, probes)
        assert service.process.stop() == 0
        service.http.close()
    return result


class _Handlers:
    """The handler that runs; call it with a broker to start the next one."""

    def __init__(self, rollbook: Rollbook, stack: LocalStack, first: RunningProcess) -> None:
        self._rollbook = rollbook
        self._stack = stack
        self._running = first

    def __call__(self, broker: str) -> None:
        """Kill the handler, and start one that knows no broker but this one at first."""
        self._running.kill()
        port = self._stack.servers()[broker].port
        before = self._rollbook.overrides
        self._rollbook.overrides = before | {"ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{port}"}
        try:
            self._running = self._rollbook.start_handler(wait=False)
        finally:
            self._rollbook.overrides = before


@contextmanager
def _cluster(fault: str, rollbook: Rollbook, stack: LocalStack) -> Iterator[Cluster]:
    cluster = Cluster(stack, rollbook.settings)
    if fault not in {CUT_OFF, JOINED}:
        yield cluster
        return
    with relayed(stack) as relays:
        cluster.relays = relays
        cluster.heal()
        yield cluster
        rollbook.stop_all()


def _compare(result: Result, rollbook: Rollbook, load: Commands, probes: Stalls) -> None:
    """Compare every answer with the log, and the read models as well."""
    commands = [*load.tracked, *probes.tracked]
    ledger = Ledger(rollbook.settings)
    confirmed = [one.command_id for one in commands if one.is_decided()]
    result.confirmed = len(confirmed)
    result.lost = sum(command_id not in ledger.decided for command_id in confirmed)
    result.flaws = [*load.flaws, *probes.flaws, *ledger.flaws(commands)]
    wait_caught_up(rollbook.settings)
    rollbook.ndjson("verify")
