"""One soak: constant load, a fault now and then, samples, and then every check."""

import pickle
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from projectors.catalog import open_versions
from projectors.contract.read_model import READY
from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from schemas.errors import RollbookError
from scripts.bench.report.measure import machine
from scripts.stack.native.local import LocalStack
from tests.conftest import own_registry
from tests.faults.executed import ExecutedRollbook
from tests.faults.nemesis.clients import Clients
from tests.faults.nemesis.faults.table import inject
from tests.faults.nemesis.run import Result, check
from tests.faults.nemesis.settled import is_settled
from tests.faults.nemesis.system import System
from tests.faults.outage import MODELS
from tests.faults.soak.report import series_rows
from tests.faults.soak.sampler import Sampler
from tests.faults.soak.schedule import schedule
from tests.faults.soak.series import judge
from tests.started.processes import eventually

# Of each client: `Clients` says what it asks in it.
_PERIOD_SECONDS: Final = 3.0
_SETTLED_SECONDS: Final = 60.0
# Of a partition, so that handlers forget as many ids as they hear of after the five minutes for
# which they remember each; with the default, their states would grow for the whole hour.
_IDS_KEPT: Final = 1_000


def soak(
    minutes: float, stack: LocalStack, directory: Path, leak: str | None = None
) -> dict[str, Any]:
    """Soak a registry of its own on a stack; return the report.

    `leak` is what handlers and projectors leak on purpose.
    """
    result, seconds = Result(0), 60 * minutes
    on = machine()
    with own_registry(stack, directory) as settings, ExitStack() as opened:
        ensure_topics(settings)
        leaking = (sys.executable, "-m", "tests.faults.soak.leak", leak) if leak else ()
        rollbook = ExecutedRollbook(settings, stack.config_file, directory, wrapper=leaking)
        rollbook.overrides["ROLLBOOK_OUTCOMES_WINDOW_COUNT"] = str(_IDS_KEPT)
        system = opened.enter_context(System(rollbook, stack))
        clients = Clients(system, 0, _PERIOD_SECONDS)
        opened.callback(clients.stop)
        sampler = Sampler(system, stack)
        faults: list[tuple[float, str]] = []
        try:
            system.wait_until_well()
            with sampler:
                _load(seconds, system, clients, sampler, faults)
            result.commands = len(clients.workload.history.asked)
            check(system, clients, result)
        except (AssertionError, RollbookError) as error:
            result.violations.append(f"it did not recover: {error}")
        result.violations += clients.flaws + system.tracebacks() + sampler.flaws
        if result.violations:
            kept = pickle.dumps(clients.workload.history)
            (directory / "history.pickle").write_bytes(kept)
    verdicts = {place: judge(one, seconds) for place, one in sampler.series.items()}
    return {
        "minutes": minutes,
        "machine": on,
        "commands": result.commands,
        "commands_per_second": round(result.commands / seconds, 1),
        "queries": result.queries,
        "answers": dict(sorted(result.answers.items())),
        "happened": dict(sorted(system.happened.items())),
        "exits": dict(sorted(system.exits.items())),
        "faults": faults,
        "violations": result.violations,
        "series": list(series_rows(sampler.series, verdicts, seconds)),
    }


def _load(
    seconds: float,
    system: System,
    clients: Clients,
    sampler: Sampler,
    faults: list[tuple[float, str]],
) -> None:
    """Keep the load until the end, and inject each fault when it is due, or the last one is over.

    After each fault the clients pause for a moment: the checks need times at which nothing is in
    transit, and new addresses keep the history of each short.
    """
    clients.resume()
    for begins, step in schedule(seconds):
        time.sleep(max(0.0, begins - sampler.seconds()))
        if sampler.seconds() > seconds:
            break
        faults.append((round(sampler.seconds(), 1), f"{step.fault} ({step.target})"))
        with inject(system, step):
            time.sleep(step.held)
        system.servers.wait_until_ready()
        _drop_what_rebuilds_left(system.settings)
        _rest(system, clients)
    time.sleep(max(0.0, seconds - sampler.seconds()))
    _rest(system, clients, is_last=True)
    # A killed PostgreSQL loses its latest transactions: the projector commits without waiting.
    clients.workload.history.forgets_reads = True


def _drop_what_rebuilds_left(settings: Settings) -> None:
    """Drop a version that a killed rebuild had accepted: a projector would serve it to the end."""
    for name in MODELS:
        with closing(open_versions(settings, name)) as versions:
            for version in versions.versions():
                if version.state == READY and not version.live:
                    versions.drop(version.number)


def _rest(system: System, clients: Clients, *, is_last: bool = False) -> None:
    clients.pause()
    eventually(
        lambda: is_settled(system.settings), _SETTLED_SECONDS, "all that was sent is decided"
    )
    clients.workload.history.quiet.append(time.monotonic())
    if not is_last:
        clients.workload.renew()
        clients.resume()


def is_red(report: Mapping[str, Any]) -> bool:
    """Return whether a series is not flat or anything else was wrong."""
    return bool(report["violations"]) or not all(one["is_flat"] for one in report["series"])
