"""The command `rollbook verify`: reads, checks, prints a line per promise."""

import time
from dataclasses import replace

import click

from runtime.context import pass_settings
from runtime.settings import Settings
from runtime.terminal import EXIT_FAILED, Seconds, json_option, print_json, say
from runtime.topic_admin import check_topics
from schemas.records import CHANGE_EMAIL
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, HISTORY, OUTCOMES
from scripts.verify.decided import Command, Decided
from scripts.verify.decision_checks import DecisionChecks
from scripts.verify.facts import Entry
from scripts.verify.findings import Check
from scripts.verify.history_store import check_history
from scripts.verify.log_checks import LogChecks
from scripts.verify.reader import LogReader
from scripts.verify.sagas import look_at_sagas
from scripts.verify.store_checks import check_current, check_users
from scripts.verify.stores import (
    MODELS,
    StoredModel,
    positions_of,
    read_users,
    stored_models,
)

_POLL_SECONDS = 0.2


@click.command()
@click.option(
    "--timeout",
    "timeout_seconds",
    metavar="SECONDS",
    type=Seconds(min=0),
    default=30.0,
    show_default=True,
    help="How long to wait for the projectors to catch up.",
)
@click.option("--log-only", is_flag=True, help="Check the topics alone, not the read models.")
@json_option
@pass_settings
def verify(settings: Settings, *, timeout_seconds: float, log_only: bool, as_json: bool) -> int:
    """Check that every topic and all read models tell one story. Changes nothing.

    Reads every topic from its beginning, then every read model whole. Prints a line per promise,
    with coordinates and ids of what breaks it (never personal data); ends with 1 if one is broken.

    \b
    Examples:
      rollbook verify
      rollbook verify --log-only --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    checks = run_checks(settings, timeout_seconds=timeout_seconds, log_only=log_only)
    for check in checks:
        if as_json:
            print_json(check.as_json())
            continue
        click.echo(check.line())
        for example in check.examples:
            click.echo(f"    {example}")
        if check.found > len(check.examples):
            click.echo(f"    … and {check.found - len(check.examples)} more")
    broken = sum(not check.holds for check in checks)
    if not as_json:
        say(f"{broken} of {len(checks)} promises are broken" if broken else "all promises hold")
    return EXIT_FAILED if broken else 0


def run_checks(
    settings: Settings, *, timeout_seconds: float = 30.0, log_only: bool = False
) -> list[Check]:
    """Return every check made on what `settings` name.

    A handler and projectors may be at work meanwhile: what they decide after the reading began is
    left out where two topics are compared. Raises `Unavailable` if a server is away,
    `Misconfigured` if a topic is missing.
    """
    topic_ids = check_topics(settings)
    log = LogChecks(settings.partitions)
    decisions = DecisionChecks(
        settings.outcomes_window_count, int(settings.outcomes_window_seconds * 1000)
    )
    with LogReader(settings) as reader:
        read_to = {
            partition: _check_partition(reader, partition, log, decisions)
            for partition in range(settings.partitions)
        }
        letters = [entry.record for entry in reader.read(DEAD_LETTERS, 0) if entry.record]
        suspects = log.shared_addresses()
        tails = {partition: end for partition, (end, _outcomes) in read_to.items()}
        claims, settled = look_at_sagas(
            settings,
            reader,
            log,
            decisions.waiting(),
            tails=tails,
            outcome_tails={partition: end for partition, (_events, end) in read_to.items()},
        )
        decisions.finish(letters, settings.named(COMMANDS.name), settled)
        log.finish(suspects)
        checks = [*log.checks(), *claims.checks(), *decisions.checks()]
        if not log_only:
            deadline = time.monotonic() + timeout_seconds
            ends = log.last_seqs()
            topic_id = topic_ids[EVENTS.name]
            checks += _check_models(
                settings, reader, log, tails, ends, topic_id=topic_id, deadline=deadline
            )
            checks += _check_history(
                settings, reader, ends, topic_id=topic_ids[HISTORY.name], deadline=deadline
            )
    return checks


def _check_partition(
    reader: LogReader, partition: int, log: LogChecks, decisions: DecisionChecks
) -> tuple[int, int]:
    """Read and check one partition; return to where events and outcomes were read."""
    committed = reader.committed(partition)
    commands_at = reader.ends(COMMANDS, partition)
    facts = log.history(partition, reader.read(HISTORY, partition))
    tail = reader.ends(EVENTS, partition).end
    log.events(partition, reader.read(EVENTS, partition))
    outcomes_at = reader.ends(OUTCOMES, partition)
    entries = reader.read(OUTCOMES, partition)
    outcomes = [o for entry in entries if (o := decisions.outcome_entry(entry)) is not None]
    decided = Decided(
        partition,
        facts,
        outcomes,
        (_command(entry) for entry in reader.read(COMMANDS, partition)),
        committed,
        commands_end=commands_at.end,
        commands_begin=commands_at.begin,
        outcomes_begin=outcomes_at.begin,
        erased=log.erasures(),
    )
    if reader.committed(partition) != committed:
        before = [o["seq"] or 0 for o in outcomes if o["command_offset"] < committed]
        decided = replace(decided, cut=max(before, default=0))
    decisions.partition(decided)
    log.settle(partition, decided.cut)
    return tail, outcomes_at.end


def _command(entry: Entry) -> Command:
    record = entry.record
    if record is None:
        return Command(entry.offset, None)
    return Command(entry.offset, record["command_id"], record["kind"] == CHANGE_EMAIL)


def _check_models(
    settings: Settings,
    reader: LogReader,
    log: LogChecks,
    tails: dict[int, int],
    ends: dict[int, int],
    *,
    topic_id: str,
    deadline: float,
) -> list[Check]:
    """Compare the read models with the log as it is after they were read."""
    checks, snapshots = [], {}
    for one in stored_models(settings, MODELS):
        checks.append(_wait_current(settings, one, ends, topic_id, deadline))
        # One that was never run holds nothing to compare.
        if positions_of(settings, one):
            snapshots[one.label] = read_users(settings, one)
    for partition, tail in tails.items():
        log.later(reader.read(EVENTS, partition, tail))
    for label, snapshot in snapshots.items():
        checks.append(
            check_users(label, snapshot.held, snapshot.positions, log.users, settings.partitions)
        )
        checks += snapshot.checks
    return checks


def _check_history(
    settings: Settings,
    reader: LogReader,
    ends: dict[int, int],
    *,
    topic_id: str,
    deadline: float,
) -> list[Check]:
    """Compare the read model of the history; an event has one seq in both topics."""
    checks = []
    for one in stored_models(settings, ["history"]):
        checks.append(_wait_current(settings, one, ends, topic_id, deadline))
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
