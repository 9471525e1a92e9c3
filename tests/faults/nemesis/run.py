"""One run: load, faults, recovery, and then every check."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final

from producers.client import CommandClient
from projectors.versions.status import CAUGHT_UP, read_status
from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from schemas.errors import RollbookError
from schemas.topics import COMMANDS, EMAILS, EVENTS, HISTORY, OUTCOMES
from scripts.stack.native.local import LocalStack
from scripts.verify.other_versions import other_versions
from tests.conftest import own_registry
from tests.faults.nemesis.clients import Clients
from tests.faults.nemesis.compaction import compacted
from tests.faults.nemesis.faults.search import let_go_late_writes
from tests.faults.nemesis.faults.table import inject
from tests.faults.nemesis.plan import Plan, Step
from tests.faults.nemesis.settled import is_settled
from tests.faults.nemesis.system import System
from tests.faults.nemesis.workload import answer_of
from tests.faults.outage import MODELS
from tests.histories.checks import broken
from tests.histories.history import Answer, Asked, History, Query
from tests.observed.log import alter_topics, read
from tests.started.processes import Rollbook, eventually

# After the faults of a round so many commands must be accepted before it ends.
_ACCEPTED_BETWEEN: Final = 20
_HEALED_SECONDS: Final = 120
# Of each client: `Clients` says what it asks in it.
_PERIOD_SECONDS: Final = 0.7


@dataclass(slots=True)
class Result:
    """What came of a run, as a line of the table of runs."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    queries: int = 0
    exits: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "seed": self.seed,
            "faults": dict(sorted(self.faults.items())),
            "commands": self.commands,
            "answers": dict(sorted(self.answers.items())),
            "unknown": dict(sorted(self.unknown.items())),
            "queries": self.queries,
            "exits": dict(sorted(self.exits.items())),
            "seconds": round(self.seconds, 1),
            "violations": self.violations,
        }


def run(
    plan: Plan, stack: LocalStack, directory: Path, saboteur: str | None = None
) -> tuple[Result, History]:
    """Carry out a plan in a registry of its own; return what was found, and the history."""
    result = Result(plan.seed)
    with own_registry(stack, directory) as settings, ExitStack() as opened:
        ensure_topics(settings)
        # Segments close after seconds, so the broker compacts while the run lasts.
        alter_topics(
            settings,
            (EVENTS, HISTORY, EMAILS),
            segment_ms="3000",
            max_compaction_lag_ms="1000",
            min_cleanable_dirty_ratio="0.01",
            file_delete_delay_ms="0",
        )
        rollbook = Rollbook(settings, stack.config_file, directory)
        system = opened.enter_context(System(rollbook, stack, saboteur))
        clients = Clients(system, plan.seed, _PERIOD_SECONDS)
        opened.callback(clients.stop)
        try:
            _load(plan, stack, system, clients, result)
            check(system, clients, result)
        except Exception as error:  # noqa: BLE001 - the next seed can run all the same
            result.violations.append(f"it did not recover: {type(error).__name__}: {error}")
        result.violations += clients.flaws + system.tracebacks()
        result.faults, result.exits = system.happened, system.exits
        return result, clients.workload.history


def _load(plan: Plan, stack: LocalStack, system: System, clients: Clients, result: Result) -> None:
    """Keep all clients busy while faults happen; between rounds everything comes to rest."""
    history, before = clients.workload.history, compacted(stack.directory, system.settings)
    system.wait_until_well()
    for number, steps in enumerate(plan.rounds, 1):
        began, asked = time.monotonic(), len(history.asked)
        clients.workload.renew()
        clients.resume()
        _overlap(system, list(steps))
        system.servers.wait_until_ready()
        _wait_for_accepted(clients, _ACCEPTED_BETWEEN)
        wanted = plan.commands * number // len(plan.rounds)
        eventually(partial(_has_asked, history, wanted), _HEALED_SECONDS, "enough commands")
        time.sleep(max(0.0, began + plan.seconds / len(plan.rounds) - time.monotonic()))
        clients.pause()
        result.seconds += time.monotonic() - began
        result.commands += len(history.asked) - asked
        eventually(
            lambda: is_settled(system.settings), _HEALED_SECONDS, "everything sent is decided"
        )
        history.quiet.append(time.monotonic())
        now = compacted(stack.directory, system.settings)
        system.happened["partition of a topic compacted"] += len(now.items() - before.items())
        before = now
    # A store that crashes may lose its latest writes until they are applied again.
    lossy = ("postgres killed", "elasticsearch killed", "disk of postgres", "disk of elasticsearch")
    history.forgets_reads = any(name.startswith(lossy) for name in system.happened)
    let_go_late_writes(system)


def _has_asked(history: History, count: int) -> bool:
    return len(history.asked) >= count


def _overlap(system: System, steps: list[Step]) -> None:
    """Begin a fault, and inside of it the next one."""
    if not steps:
        return
    step, *others = steps
    time.sleep(step.delay)
    with inject(system, step):
        _overlap(system, others)
        time.sleep(step.held)


def _wait_for_accepted(clients: Clients, count: int) -> None:
    wanted = clients.accepted() + count
    eventually(lambda: clients.accepted() >= wanted, _HEALED_SECONDS, "more commands are accepted")


def check(system: System, clients: Clients, result: Result) -> None:
    """Check the log, the read models and the history, and that every partition takes writes."""
    settings, history = system.settings, clients.workload.history
    result.violations += _broken_partitions(settings)
    eventually(partial(_is_caught_up, settings), _HEALED_SECONDS, "live read models have caught up")
    eventually(
        lambda: not other_versions(settings, MODELS),
        _HEALED_SECONDS,
        "a projector drops what a killed rebuild has left",
    )
    verified = system.rollbook.run("verify", "--timeout", "120", timeout_seconds=300)
    if verified.returncode:
        result.violations.append(f"verify: {verified.stdout}{verified.stderr}")
    for model in MODELS:
        if any(f"of {model} killed" in name for name in system.happened):
            eventually(partial(_is_rebuilt, system, model), what=f"{model} is rebuilt after all")
    history.found = found = _look_up(settings)
    result.violations += [
        f"{command['command_id']} is on the log and was never decided"
        for _, command in read(settings, COMMANDS)
        if command["command_id"] not in found
    ]
    history.queries = list(placed(history))
    result.violations += broken(history)
    result.queries = len(history.queries)
    result.answers = Counter(_ending(one) for one in history.asked)
    for one in history.asked:
        if _ending(one) == "unknown":
            result.unknown["decided" if found.get(one.command_id) else "never arrived"] += 1


def _broken_partitions(settings: Settings) -> Iterator[str]:
    """Write once to every partition; yield those that do not answer."""
    history, left = History(settings.partitions), set(range(settings.partitions))
    with closing(CommandClient(settings, timeout_seconds=60)) as client:
        for number in range(1_000):
            email = f"after{number}@example.com"
            if (home := history.home_of_address(email)) in left:
                left.discard(home)
                if not client.create_user(email, "After", 50).accepted:
                    yield f"partition {home} accepts no user"
    if left:
        yield f"partitions without an address: {left}"


def _is_caught_up(settings: Settings) -> bool:
    """Return whether all live versions have; one whose rebuild was killed never will."""
    try:
        live = [one for one in read_status(settings).partitions if one.live]
    except RollbookError:
        return False
    return len(live) == len(MODELS) * settings.partitions and all(
        one.state == CAUGHT_UP for one in live
    )


def _is_rebuilt(system: System, model: str) -> bool:
    return system.rollbook.run("projector", "rebuild", model).returncode == 0


def _look_up(settings: Settings) -> dict[str, list[Answer]]:
    """Return by command id every answer that there is."""
    found: dict[str, list[Answer]] = {}
    for number, outcome in read(settings, OUTCOMES):
        token = None if outcome["seq"] is None else f"{number}:{outcome['seq']}"
        answer = answer_of({**outcome, "token": token})
        found.setdefault(outcome["command_id"], []).append(answer)
    return found


def placed(history: History) -> Iterator[Query]:
    """Yield the queries; one that did not find its user shows the version at which he left.

    An answer of that kind has no version. It is that of the latest end of the user that was asked
    for before the query ended, if there is one and the read model must have known the user.
    """
    ends: dict[str, list[tuple[float, Answer]]] = {}
    answers = history.found or {}
    for one in history.asked:
        if one.kind in {"delete", "erase"} and one.user_id and one.was_sent:
            found = [one.answer] if one.answer else answers.get(one.command_id, [])
            ends.setdefault(one.user_id, []).extend(
                (one.began, answer) for answer in found if answer.accepted
            )
    waited = {id(query) for query in _that_waited(history)}
    known_from: dict[tuple[str, str], float] = {}
    if not history.forgets_reads:
        for query in history.queries:
            if query.version is not None or id(query) in waited:
                key = query.user_id, query.model
                known_from[key] = min(query.ended, known_from.get(key, inf))
    for query in history.queries:
        possible = [
            answer.version or 0
            for began, answer in ends.get(query.user_id, [])
            if began < query.ended
        ]
        # The read model must know the user's creation if this query or an earlier one shows it.
        earliest = known_from.get((query.user_id, query.model), inf)
        must_know = id(query) in waited or earliest < query.began
        is_gone = query.version is None and possible and must_know
        yield replace(query, version=max(possible)) if is_gone else query


def _that_waited(history: History) -> Iterator[Query]:
    """Yield the queries that waited for the creation of their user."""
    created: dict[str, list[Answer]] = {}
    for one in history.asked:
        if one.kind == "create" and one.answer and one.answer.accepted and one.answer.user_id:
            created.setdefault(one.answer.user_id, []).append(one.answer)
    for query in history.queries:
        answers = created.get(query.user_id, [])
        if any(answer.seq <= query.tokens.get(answer.partition, 0) for answer in answers):
            yield query


def _ending(one: Asked) -> str:
    if not one.was_sent:
        return "nothing sent"
    if one.answer is None:
        return "imported" if one.client == "import" else "unknown"
    return "accepted" if one.answer.accepted else str(one.answer.code)
