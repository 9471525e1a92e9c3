import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from projectors.cli.events import text_line
from projectors.log.event_log import LogRecord, Start
from projectors.log.lines import json_line, parse_start
from schemas.records import USER_CREATED, UserEvent
from tests.samples.events import NOW as NOW_MS
from tests.samples.events import event_of, user_id_of

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
USER_ID = user_id_of("jane@example.com")


def record(event: UserEvent | None, error: str | None = None) -> LogRecord[UserEvent]:
    return LogRecord("user-history", 3, 42, 1_700_000_000_123, b"k\x1b", event, error)


def updated(name: str, **fields: Any) -> UserEvent:
    fields = {"seq": 7, "command_id": "command-1", "occurred_at": NOW_MS + 1, **fields}
    changes = [{"field": "name", "before": "Jane", "after": name}]
    return event_of("jane@example.com", 2, name=name, changes=changes, **fields)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("beginning", "beginning"),
        ("end", "end"),
        ("10m", NOW - timedelta(minutes=10)),
        ("-1h", NOW - timedelta(hours=1)),
        ("2d", NOW - timedelta(days=2)),
        ("2026-01-30", datetime(2026, 1, 30, tzinfo=UTC)),
        ("2026-01-30T10:00:00", datetime(2026, 1, 30, 10, tzinfo=UTC)),
        ("2026-01-30T10:00:00+02:00", datetime(2026, 1, 30, 8, tzinfo=UTC)),
        ("2026-01-30T10:00Z", datetime(2026, 1, 30, 10, tzinfo=UTC)),
    ],
)
def test_from_is_a_word_a_time_or_an_age(text: str, start: Start) -> None:
    """A time without a zone is UTC, like every time that is printed."""
    assert parse_start(text, NOW) == start


@pytest.mark.parametrize("text", ["", "yesterday", "10", "10x", "999999999w", "2026-13-01"])
def test_any_other_start_is_refused_with_a_sentence(text: str) -> None:
    """The sentence says what is accepted."""
    with pytest.raises(ValueError, match="an age like 10m"):
        parse_start(text, NOW)


def test_a_line_shows_the_place_the_user_and_the_changes() -> None:
    """One line holds everything that people ask of an audit trail."""
    line = text_line(record(updated("Jill")))
    assert line.startswith("2023-11-14 22:13:20.001Z  3:42 ")
    assert "UserUpdated" in line
    assert f"{USER_ID}  v2  seq 7  command command-1  name: Jane → Jill" in line


def test_a_line_shows_who_asked() -> None:
    assert "  by billing-key  name: Jane" in text_line(
        record(updated("Jo", issued_by="billing-key"))
    )
    assert "  by " not in text_line(record(updated("Jo")))


def test_control_characters_never_reach_the_terminal() -> None:
    """Neither from a name nor from a foreign key."""
    assert text_line(record(updated("Ji\x1b[31mll\n"))).isprintable()
    assert text_line(record(None, "bad_avro")).isprintable()


def test_an_unreadable_record_is_shown_with_its_place_and_the_reason() -> None:
    """It is on the log, so it is shown."""
    assert "3:42" in text_line(record(None, "bad_avro"))
    assert "unreadable: bad_avro" in text_line(record(None, "bad_avro"))
    assert json.loads(json_line(record(None, "bad_avro"))) == {
        "topic": "user-history",
        "partition": 3,
        "offset": 42,
        "timestamp": "2023-11-14T22:13:20.123000+00:00",
        "key": "k\\x1b",
        "error": "bad_avro",
    }


def test_json_lists_every_field_of_a_new_user() -> None:
    """A creation stores no list of changes; it is printed nevertheless."""
    found = json.loads(json_line(record(updated("Jane") | {"type": USER_CREATED, "changes": []})))
    assert [change["field"] for change in found["changes"]] == ["email", "name", "age"]
    assert found["occurred_at"] == "2023-11-14T22:13:20.001000+00:00"


def test_a_time_outside_of_the_calendar_is_shown_as_a_number() -> None:
    """A foreign record may hold anything that is valid Avro."""
    strange = record(updated("Jill", occurred_at=2**62))
    assert text_line(strange).startswith(str(2**62))
    assert json.loads(json_line(strange))["occurred_at"] == 2**62
