"""`rollbook events`: read the log itself, every event decoded, as kcat would."""

import os
import select
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Final

import click

from projectors.cli.options import USER_ID
from projectors.log.event_log import LogRecord, Start, read_log
from projectors.log.lines import json_line, parse_start, printable_key, time_of
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import Parsed, json_option, say
from runtime.printable import printable
from runtime.settings import Settings
from schemas.identity import partition_of, user_shard
from schemas.records import FieldChange, UserEvent, changes_of
from schemas.topics import HISTORY

_KEY_MAX_CHARACTERS: Final = 80


@click.group()
def events() -> None:
    """Read the log of events."""


@events.command()
@click.option("--user", "user_id", type=USER_ID, metavar="ID", help="Only the events of this user.")
@click.option(
    "--from",
    "start",
    type=Parsed("start", lambda text: parse_start(text, datetime.now(UTC))),
    metavar="beginning|end|TIME",
    default="end",
    show_default=True,
    help="Where to begin. TIME is ISO 8601 (UTC without a zone), or how long ago: 10m, 2d.",
)
@click.option(
    "--follow/--no-follow",
    default=True,
    show_default=True,
    help="Wait for new events until interrupted, or stop at the end of the log.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N records.")
@json_option
@pass_settings
def tail(
    settings: Settings,
    *,
    user_id: str | None,
    start: Start,
    follow: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show every event: its time and place, the user, and each field before and after.

    Reads the audit trail, which holds all events. Events come in order within a partition, and so
    in order for each user. For a record that cannot be read, its place and the reason are shown.

    \b
    Examples:
      rollbook events tail                                  what happens from now on
      rollbook events tail --from 1h --no-follow --json     the last hour, for programs
      rollbook events tail --user ID --from beginning       one user's whole history
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    records = _records(settings, user_id, start, follow=follow)
    shown = _show(records, limit, as_json=as_json)
    if shown == 0 and not follow:
        say("no events found")


def _records(
    settings: Settings, user_id: str | None, start: Start, *, follow: bool
) -> Iterator[list[LogRecord[UserEvent]]]:
    from runtime.kafka.registry import Registry
    from runtime.topics.admin import check_topics

    check_topics(settings)
    codec = Registry(settings).codec(HISTORY.schema)
    partitions = list(range(settings.partitions))
    if user_id is not None:
        partitions = [partition_of(user_shard(user_id), settings.partitions)]
    batches = read_log(settings, codec, HISTORY, partitions, start, follow=follow)
    if user_id is None:
        return batches
    mine = f"{user_id}:".encode()
    return (
        [record for record in batch if record.key and record.key.startswith(mine)]
        for batch in batches
    )


def _show(
    batches: Iterable[list[LogRecord[UserEvent]]], limit: int | None, *, as_json: bool
) -> int:
    """Print the records as they arrive; return their number. Ends if the pipe is closed."""
    line = json_line if as_json else text_line
    shown = 0
    try:
        for batch in batches:
            wanted = batch if limit is None else batch[: limit - shown]
            if wanted:
                click.echo("\n".join(line(record) for record in wanted))
                shown += len(wanted)
            if shown == limit or (not batch and _pipe_is_closed()):
                break
    except BrokenPipeError:
        # `| head` has read enough. What Python has buffered for stdout must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return shown


def _pipe_is_closed() -> bool:
    """Return whether the reader of our output closed it; without new events no write would fail."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # no event mask: only errors are reported
    return bool(output.poll(0))


def text_line(record: LogRecord[UserEvent]) -> str:
    """Return `record` as one line for people, control characters escaped."""
    event = record.event
    where = f"{record.partition}:{record.offset}"
    if event is None:
        why = f"unreadable: {record.error}"
        return f"{_time(record.timestamp_ms)}  {where:<9} {why:<16}  key {printable_key(record)}"
    line = (
        f"{_time(event['occurred_at'])}  {where:<9} {event['type']:<16}  {event['user_id']}"
        f"  v{event['version']}  seq {event['seq']}  command {event['command_id']}"
    )
    who = [f"by {event['issued_by']}"] if event["issued_by"] else []
    return printable("  ".join(chain([line], who, map(_change, changes_of(event)))))


def _change(change: FieldChange) -> str:
    before, after = change["before"], change["after"]
    if before is None:
        return f"{change['field']}: {after}"
    return f"{change['field']}: {before} → {'(gone)' if after is None else after}"


def _time(unix_ms: int) -> str:
    when = time_of(unix_ms)
    if isinstance(when, int):
        return str(when)
    return when.isoformat(" ", "milliseconds").replace("+00:00", "Z")
