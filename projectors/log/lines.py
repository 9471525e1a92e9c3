"""A record of the log as a line of JSON, and where reading begins."""

from datetime import datetime
from typing import Any, Final

import orjson

from projectors.log.event_log import LogRecord, Start
from projectors.log.times import EXAMPLES, parse_time
from runtime.printable import printable
from schemas.fields.rules import to_datetime
from schemas.records import UserEvent, changes_of

_KEY_MAX_CHARACTERS: Final = 80


def parse_start(text: str, now: datetime) -> Start:
    """Return where `--from` begins: beginning, end, or a time.

    Raises `ValueError`, with a sentence as its message, for anything else.
    """
    if text == "beginning":
        return "beginning"
    if text == "end":
        return "end"
    try:
        return parse_time(text, now)
    except ValueError:
        raise ValueError(f"{text!r} is not beginning, end, {EXAMPLES}") from None


def json_line(record: LogRecord[UserEvent]) -> str:
    """Return `record` as one line of JSON: its place, then the event or `error`."""
    content: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": time_of(record.timestamp_ms),
    }
    event = record.event
    if event is None:
        content |= {"key": printable_key(record), "error": record.error}
        return orjson.dumps(content).decode()
    content |= event
    content["occurred_at"] = time_of(event["occurred_at"])
    content["changes"] = changes_of(event)
    if event["user"] is not None:
        content["user"] = {**event["user"], "created_at": time_of(event["user"]["created_at"])}
    return orjson.dumps(content).decode()


def time_of(unix_ms: int) -> datetime | int:
    """Return the time, or the number itself if it is outside of the calendar."""
    try:
        return to_datetime(unix_ms)
    except (ValueError, OverflowError, OSError):
        return unix_ms


def printable_key(record: LogRecord[UserEvent]) -> str | None:
    """Return the beginning of a record's key, control characters escaped."""
    if record.key is None:
        return None
    return printable(record.key.decode(errors="backslashreplace"))[:_KEY_MAX_CHARACTERS]
