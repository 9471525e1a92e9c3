"""Reads every topic and both stores, and runs every check on them."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from projectors.catalog import OURS
from runtime.settings import Settings
from runtime.topics.admin import TopicReport, check_topics, topic_reports
from runtime.topics.drift import lossy_drift
from schemas.letters import Letters
from schemas.records import CHANGE_EMAIL
from schemas.topics import COMMANDS, DEAD_LETTERS, EMAILS, EVENTS, HISTORY, HOPS, OUTCOMES, Topic
from scripts.verify.checks.claims import Claim, ClaimChecks, Suspect, fold_claims
from scripts.verify.checks.decisions import (
    Command,
    Decided,
    DecisionChecks,
    Open,
)
from scripts.verify.checks.foreign import ForeignChecks
from scripts.verify.checks.log import LogChecks
from scripts.verify.checks.stores import check_current, check_users
from scripts.verify.facts import Check, Entry, last_decided
from scripts.verify.other_versions import check_others
from scripts.verify.reader import LogReader
from scripts.verify.stores import (
    MODELS,
    StoredModel,
    check_history,
    positions_of,
    read_users,
    stored_models,
)

_POLL_SECONDS = 0.2
# An address change takes five messages of some milliseconds each: one that looks stuck in every
# reading is stuck.
_READINGS = 5
_BETWEEN_SECONDS = 0.3


class ReadTo(NamedTuple):
    """The offsets before which the events and the outcomes of one partition were read."""

    events: int
    outcomes: int


# Returns the check of a model's checkpoint once it has reached the end of its topic, or in time.
WaitCurrent: TypeAlias = Callable[[StoredModel, Topic], Check]


def run_checks(
    settings: Settings, *, timeout_seconds: float = 30.0, log_only: bool = False
) -> Iterator[Check]:
    """Yield every check of the registry that `settings` name, those of the topics first.

    Handlers and projectors may be running: what they decide after the reading began is left out
    where two topics are compared. Raises `Unavailable` if a server is unavailable, `Misconfigured`
    if a topic is missing.
    """
    topic_ids = check_topics(settings)
    log = LogChecks(settings.partitions, int(settings.clock_lead_seconds * 1000))
    decisions = DecisionChecks(
        settings.outcomes_window_count, int(settings.outcomes_window_seconds * 1000)
    )
    foreign = ForeignChecks()
    with LogReader(settings) as reader:
        read_to = {
            partition: _check_partition(reader, partition, log, decisions, foreign)
            for partition in range(settings.partitions)
        }
        letters = Letters(entry.record for entry in reader.read(DEAD_LETTERS, 0) if entry.record)
        suspects = log.shared_addresses()
        claims, settled = check_claims(settings, reader, log, decisions.waiting(), read_to)
        decisions.finish(letters, settings.named(COMMANDS.name), settled)
        log.finish(suspects)
        foreign.finish(letters, settings.named(COMMANDS.name))
        yield check_options(topic_reports(settings), settings)
        yield from (*log.checks(), *claims.checks(), *decisions.checks())
        yield from (foreign.foreign, foreign.open_letters)
        if not log_only:
            deadline, ends = time.monotonic() + timeout_seconds, log.last_seqs()

            def wait_current(one: StoredModel, topic: Topic) -> Check:
                return _wait_current(settings, one, ends, topic_ids[topic.name], deadline)

            yield from _check_models(settings, reader, log, read_to, wait_current)
            yield from _check_history(settings, reader, wait_current)
            yield from check_others(settings, OURS, log.users)


def check_options(reports: Iterable[TopicReport], settings: Settings) -> Check:
    """Return the check that Kafka deletes no record that is needed."""
    check = Check("topics: no option of a topic loses records")
    for report in reports:
        check.looked_at += 1
        for option, wanted, found in lossy_drift(report, settings):
            check.report(f"topic {report.name} has {option}={found}, it must be {wanted}")
    return check


def _check_partition(
    reader: LogReader,
    partition: int,
    log: LogChecks,
    decisions: DecisionChecks,
    foreign: ForeignChecks,
) -> ReadTo:
    """Read and check one partition; return how far it was read."""

    def read(topic: Topic) -> Iterator[Entry]:
        return foreign.read(reader.name_of(topic), reader.read(topic, partition))

    committed, messages_committed = reader.committed(partition), reader.committed(partition, HOPS)
    commands_at = reader.ends(COMMANDS, partition)
    facts = log.history(partition, read(HISTORY))
    tail = reader.ends(EVENTS, partition).end
    log.events(partition, read(EVENTS))
    outcomes_at = reader.ends(OUTCOMES, partition)
    for topic in (EMAILS, HOPS):
        deque(read(topic), maxlen=0)
    outcomes = [o for entry in read(OUTCOMES) if (o := decisions.outcome_entry(entry)) is not None]
    decided = Decided(
        partition,
        facts,
        outcomes,
        (_command(entry) for entry in reader.read(COMMANDS, partition)),
        committed,
        commands_end=commands_at.end,
        commands_begin=commands_at.low,
        outcomes_begin=outcomes_at.low,
        erased=log.erasures(),
    )
    has_moved = reader.committed(partition) != committed
    if has_moved or reader.committed(partition, HOPS) != messages_committed:
        decided = replace(decided, cut=last_decided(facts, outcomes, committed))
    decisions.partition(decided)
    log.compare_topics(partition, decided.cut)
    return ReadTo(tail, outcomes_at.end)


def _command(entry: Entry) -> Command:
    record = entry.record
    if record is None:
        return Command(entry.offset, None)
    return Command(entry.offset, record["command_id"], record["kind"] == CHANGE_EMAIL)


def _check_models(
    settings: Settings,
    reader: LogReader,
    log: LogChecks,
    read_to: dict[int, ReadTo],
    wait_current: WaitCurrent,
) -> list[Check]:
    """Compare the read models with the log, which is read again after them."""
    checks, snapshots = [], {}
    for one in stored_models(settings, MODELS):
        checks.append(wait_current(one, EVENTS))
        # A model that never ran has nothing to compare.
        if positions_of(settings, one):
            snapshots[one.label] = read_users(settings, one)
    for partition, tails in read_to.items():
        log.later(reader.read(EVENTS, partition, tails.events))
    for label, snapshot in snapshots.items():
        checks.append(
            check_users(label, snapshot.held, snapshot.positions, log.users, settings.partitions)
        )
        checks += snapshot.checks
    return checks


def _check_history(settings: Settings, reader: LogReader, wait_current: WaitCurrent) -> list[Check]:
    """Compare the read model of the history; an event has the same seq in both topics."""
    checks = []
    for one in stored_models(settings, ["history"]):
        checks.append(wait_current(one, HISTORY))
        if one.version is not None and positions_of(settings, one):
            checks += check_history(settings, reader, one.version)
    return checks


def _wait_current(
    settings: Settings, one: StoredModel, ends: dict[int, int], topic_id: str, deadline: float
) -> Check:
    current = check_current(one.label, positions_of(settings, one), ends, topic_id)
    while not current.holds and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        current = check_current(one.label, positions_of(settings, one), ends, topic_id)
    return current


def check_claims(
    settings: Settings,
    reader: LogReader,
    log: LogChecks,
    waiting: list[Open],
    read_to: dict[int, ReadTo],
) -> tuple[ClaimChecks, set[Open]]:
    """Return the checks of claims, and those of `waiting` that are answered by now or in transit.

    Address changes may be in transit, so the topics are read several times. Updates `log`.
    """
    checks = ClaimChecks(settings.partitions)
    readings: list[set[Suspect]] = []
    settled: set[Open] = set()
    while True:
        moving, changes = _in_transit(settings, reader)
        for partition in range(settings.partitions):
            log.later(reader.read(EVENTS, partition, read_to[partition].events))
        claims = _claims(settings, reader)
        readings.append(checks.suspects(claims, log.users, moving))
        settled |= {one for one in waiting if one.command_id in changes}
        settled |= _answered(reader, set(waiting) - settled, read_to)
        is_clear = not set.intersection(*readings) and settled.issuperset(waiting)
        if is_clear or len(readings) == _READINGS:
            break
        time.sleep(_BETWEEN_SECONDS)
    checks.finish(claims, log.users, readings)
    return checks, settled


def _in_transit(settings: Settings, reader: LogReader) -> tuple[set[str], set[str]]:
    """Return users and claim ids of the messages that no handler has applied yet."""
    users, claim_ids = set(), set()
    for partition in range(settings.partitions):
        start = max(0, reader.committed(partition, HOPS))
        for entry in reader.read(HOPS, partition, start):
            if entry.record is not None:
                users.add(entry.record["user_id"])
                claim_ids.add(entry.record["claim_id"])
    return users, claim_ids


def _claims(settings: Settings, reader: LogReader) -> list[Claim]:
    return [
        claim
        for partition in range(settings.partitions)
        for claim in fold_claims(reader.read(EMAILS, partition)).values()
    ]


def _answered(reader: LogReader, waiting: set[Open], read_to: dict[int, ReadTo]) -> set[Open]:
    answered = set()
    for partition in {one.partition for one in waiting}:
        entries = reader.read(OUTCOMES, partition, read_to[partition].outcomes)
        offsets = {entry.record["command_offset"] for entry in entries if entry.record}
        answered |= {one for one in waiting if one.partition == partition and one.offset in offsets}
    return answered
