"""What TLS and logins cost: the same work on a plain and on a secure stack in turn.

On the secure stack everything runs with the login of its administrator. Kafka does not look up
permissions for it, so what is measured are encryption and logins alone.
"""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Final

from projectors.postgres.users.queries import UserQueries
from runtime.settings import Settings, load_settings
from schemas.errors import Misconfigured
from scripts.bench.query_side.our_projectors import rebuild
from scripts.bench.report.measure import Findings, Spread
from scripts.bench.services.bulk import run_python_clients
from scripts.bench.services.load import Measured
from scripts.bench.services.processor import processor_seconds
from scripts.bench.services.system import System, running_registry
from scripts.stack.places import named_directory
from scripts.stack.record import read_record

SIDES: Final = ("plain", "secure")
_PIPELINED: Final = 64
_SEED: Final = 20_261_128
_MICROSECONDS: Final = 1e6
# What works on a creation, besides the client.
_PROCESSES: Final = ("handler", "kafka")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: see the options of the command."""

    users: int
    seconds: float
    repeats: int
    as_json: bool


def settings_of(stack: str, *, secure: bool) -> Settings:
    """Return the settings of a running native stack, on a secure one its administrator's.

    Raises `Misconfigured` if it is of the other kind.
    """
    directory = named_directory(stack)
    record = read_record(directory)
    if record is None or record.secure != secure:
        kind = "secure" if secure else "plain"
        option = " --secure" if secure else ""
        raise Misconfigured(
            f"there is no {kind} stack {stack}",
            code="other_mode",
            next_step=f"start one: `rollbook stack up --name {stack} --free-ports{option}`",
        )
    operator = load_settings(config=str(directory / "rollbook.toml")).settings
    if not secure:
        return operator
    return replace(
        load_settings(config=str(directory / "admin.toml")).settings,
        # Which only deploys what the operator deploys.
        registry_username=operator.registry_username,
        registry_password=operator.registry_password,
    )


def measure(plain: Settings, secure: Settings, plan: Plan) -> Findings:
    """Measure the same work on both, in every repeat one after the other."""
    findings = Findings(plan.as_json)
    spawn = multiprocessing.get_context("spawn")
    with (
        running_registry(plain, plan.users) as on_plain,
        running_registry(secure, plan.users) as on_secure,
        ProcessPoolExecutor(1, mp_context=spawn) as load,
    ):
        sides = list(zip(SIDES, (on_plain, on_secure), strict=True))
        findings.report("warming up")
        for repeat in range(-1, plan.repeats):
            kept = Findings(as_json=True) if repeat < 0 else findings
            # Whoever comes second finds a warmer machine: that is each in turn.
            for name, system in sides if repeat % 2 else reversed(sides):
                _measure(name, system, plan, kept, load, f"r{repeat}")
    return findings


def _measure(  # noqa: PLR0917 - one call
    side: str, system: System, plan: Plan, findings: Findings, load: ProcessPoolExecutor, tag: str
) -> None:
    for what, clients in (("pipelined", _PIPELINED), ("single", 1)):
        run = partial(
            run_python_clients, system.settings, clients, plan.seconds, f"{tag}{side}{clients}"
        )
        before = processor_seconds({one: system.pids[one] for one in _PROCESSES})
        found = load.submit(run).result()
        after = processor_seconds({one: system.pids[one] for one in _PROCESSES})
        system.users += found.answers
        findings.add(f"{side} {what} creations per_second", found.per_second)
        findings.add_percentiles(f"{side} {what} creation ms", found.milliseconds)
        spent = {one: after[one] - before[one] for one in _PROCESSES}
        for one, seconds in {"client": found.processor_seconds, **spent}.items():
            findings.add(f"{side} {what} creation cpu us {one}", _each(seconds, found.answers))
        system.catch_up()
    began = time.process_time()
    rebuilt = rebuild(system.settings, "postgres")
    findings.add(f"{side} rebuild users per_second", system.users / rebuilt.serving)
    spent_here = time.process_time() - began
    findings.add(f"{side} rebuild cpu us projector", _each(spent_here, system.users))
    gets = load.submit(_get_users, system.settings, system.user_ids, plan.seconds).result()
    findings.add_percentiles(f"{side} get ms", gets.milliseconds)
    findings.add(f"{side} get cpu us client", _each(gets.processor_seconds, gets.answers))


def _each(seconds: float, count: int) -> float:
    return seconds / count * _MICROSECONDS


def _get_users(settings: Settings, user_ids: Sequence[str], seconds: float) -> Measured:
    """Get random users from PostgreSQL, one after the other on one connection."""
    chance, milliseconds = Random(_SEED), list[float]()  # noqa: S311 - reproducible, not a secret
    with closing(UserQueries(settings)) as queries:
        queries.get_user(user_ids[0])
        began, cpu_began = time.perf_counter(), time.process_time()
        while (sent_at := time.perf_counter()) < began + seconds:
            queries.get_user(user_ids[int(chance.random() * len(user_ids))])
            milliseconds.append((time.perf_counter() - sent_at) * 1000)
        spent = time.process_time() - cpu_began
    return Measured(len(milliseconds) / seconds, milliseconds, len(milliseconds), spent)


def spreads(findings: Findings) -> dict[str, Spread]:
    """Return secure over plain for each figure, then the figures themselves."""
    figures = [name.partition(" ")[2] for name in findings.values if name.startswith("plain ")]
    return findings.spreads(
        {f"ratio of {one}": (f"secure {one}", f"plain {one}") for one in figures}
    )
