"""Records of the history, events that an erasure covers, and users at a point in time."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from projectors.cli.history import rows_of
from projectors.contract.source import LATEST_STATE, WHOLE_HISTORY
from projectors.history.as_of import as_of_time, as_of_version
from projectors.history.queries import event_fields
from projectors.history.writer import without_erased
from projectors.log.records import (
    Record,
    events_of,
    every_event,
    last_per_user,
    read_record,
    to_apply,
)
from projectors.log.times import parse_time
from schemas.errors import Poisoned, Rejected
from schemas.identity import new_user_id
from schemas.records import USER_CREATED, USER_DELETED, USER_ERASED, USER_UPDATED, UserEvent
from tests.samples.events import NOW
from tests.unit.projectors.log.test_records import CODEC, USER_ID, event, message

OTHER = new_user_id(3, 1_700_000_000_000, 6)


def of_version(version: int, kind: str = USER_UPDATED, **fields: Any) -> UserEvent:
    """Return the event with this version, one second after the previous version's."""
    gone = kind in {USER_DELETED, USER_ERASED}
    at = NOW + 1000 * version
    return event(version, seq=version, type=kind, occurred_at=at, gone=gone, **fields)


def stored(made: UserEvent, key: str | None = None) -> Message:
    """Return the message of an event in `user-history`."""
    name = f"{made['user_id']}:{made['version']}" if key is None else key
    return message(name.encode(), CODEC.encode(made))


def read(one: Message) -> Record:
    return read_record(one, WHOLE_HISTORY, CODEC.decode, 4)


def test_the_key_of_an_event_is_its_user_and_version() -> None:
    """Any other key is poisoned, because compaction would remove the wrong records."""
    made = event(version=7)
    assert read(stored(made)).event == made
    for key in (USER_ID, f"{USER_ID}:8", f"{USER_ID}:07", f"{OTHER}:7", ""):
        poison = read(stored(made, key)).poison
        assert poison is not None
        assert poison.code == "wrong_key"
    poison = read(message(None, CODEC.encode(made))).poison
    assert poison is not None
    assert poison.code == "no_key"


def test_a_tombstone_removes_the_event_with_its_key() -> None:
    """In the topic of latest events it would be a dead letter."""
    record = read(message(f"{USER_ID}:12".encode(), None))
    assert (record.event, record.poison, record.removes) == (None, None, (USER_ID, 12))
    poison = read_record(message(USER_ID.encode(), None), LATEST_STATE, CODEC.decode, 4).poison
    assert poison is not None
    assert poison.code == "no_value"


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "no_key"),
        (b"", "wrong_key"),
        (USER_ID.encode(), "wrong_key"),
        (f"{USER_ID}:0".encode(), "wrong_key"),
        (f"{USER_ID}:-1".encode(), "wrong_key"),
        (f"{USER_ID}:1x".encode(), "wrong_key"),
        (f"{USER_ID.upper()}:1".encode(), "wrong_key"),
        (b"\xff:1", "wrong_key"),
        (f"{OTHER}:1".encode(), "wrong_partition"),
        (f"{USER_ID}:{2**63 - 1}".encode(), "bad_version"),
    ],
)
def test_a_tombstone_with_an_invalid_key_is_poisoned(key: bytes | None, code: str) -> None:
    poison = read(message(key, None)).poison
    assert poison is not None
    assert poison.code == code


def test_every_event_is_applied_and_not_only_the_last_of_each_user() -> None:
    """In the order of the log, without poisoned ones."""
    records = [Record(0, n, of_version(n)) for n in (1, 2, 3, 4)]
    records[2].poison = Poisoned("refused")
    assert to_apply(records, WHOLE_HISTORY) == ([records[n] for n in (0, 1, 3)], [])
    assert to_apply(records, LATEST_STATE) == (last_per_user(records), [])


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=12))
def test_a_batch_has_the_same_result_as_its_records_one_by_one(
    steps: list[tuple[int, bool]],
) -> None:
    """In any order of events and tombstones: the last record with a key decides."""
    records = [
        Record(0, n, None if removes else of_version(v), removes=(USER_ID, v) if removes else None)
        for n, (v, removes) in enumerate(steps)
    ]
    one_by_one: set[int] = {1, 2, 3}
    for version, removes in steps:
        (one_by_one.discard if removes else one_by_one.add)(version)
    kept, removed = every_event(records)
    added = {one["version"] for one in events_of(kept)}
    at_once = {1, 2, 3} - {version for _, version in removed} | added
    assert at_once == one_by_one


def test_an_erasure_covers_older_events_before_and_after_it() -> None:
    """Only those of its user; the erasure itself stays."""
    other = event(user_id=OTHER, version=2)
    marker = of_version(4, USER_ERASED)
    events = [of_version(1), other, of_version(2), marker, of_version(3)]
    assert without_erased(events) == ([other, marker], {USER_ID: 4})
    later = of_version(9, USER_ERASED)
    assert without_erased([marker, later, marker]) == ([later], {USER_ID: 9})
    assert without_erased([other]) == ([other], {})


def refusal(query: Callable[[], object]) -> Rejected:
    with pytest.raises(Rejected) as rejected:
        query()
    return rejected.value


def test_a_past_user_has_the_state_after_that_event() -> None:
    """`updated_at` is the time of the event."""
    then = of_version(2)
    for shown in (
        as_of_version(2, then, of_version(5)),
        as_of_time(datetime(2026, 1, 1, tzinfo=UTC), then, of_version(5)),
    ):
        assert (shown.user_id, shown.version, shown.age, shown.age_group) == (
            *(USER_ID, 2, 34, "adult"),
        )
        assert shown.updated_at.timestamp() * 1000 == then["occurred_at"]
        assert shown.created_at.timestamp() == 1_700_000_000


def test_there_is_no_user_before_creation_or_after_deletion() -> None:
    """Each case has its own code, and so has a missing version."""
    now = datetime(2023, 11, 14, tzinfo=UTC)
    early = refusal(lambda: as_of_time(now, None, of_version(5)))
    assert (early.code, "2023-11-14T00:00:00.000Z" in str(early)) == ("user_not_yet_created", True)
    deleted = of_version(5, USER_DELETED)
    gone = refusal(lambda: as_of_time(now, deleted, deleted))
    assert (gone.code, "--at-version 4" in gone.next_step) == ("user_deleted", True)
    assert refusal(lambda: as_of_version(5, deleted, deleted)).code == "user_deleted"
    never = refusal(lambda: as_of_version(6, None, of_version(5)))
    assert (never.code, "the last one is 5" in str(never)) == ("version_not_found", True)


def test_no_state_of_an_erased_user_is_shown() -> None:
    """Not even one that was read just before the erasure."""
    marker = of_version(5, USER_ERASED)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for found in (None, of_version(2), marker):
        assert refusal(lambda found=found: as_of_version(2, found, marker)).code == "user_erased"  # type: ignore[misc]
        assert refusal(lambda found=found: as_of_time(now, found, marker)).code == "user_erased"  # type: ignore[misc]


def test_each_field_is_shown_before_and_after_its_change() -> None:
    """A creation has all fields. The columns of the event are repeated for programs only."""
    created = of_version(1, USER_CREATED, issued_by="key-1")
    fields = [row[4:7] for row in rows_of(created, once=False)]
    assert fields == [
        ["email", None, "jane@example.com"],
        ["name", None, "Jane Doe"],
        ["age", None, 34],
    ]
    assert [row[0] for row in rows_of(created, once=False)] == [1, 1, 1]
    assert [row[0] for row in rows_of(created, once=True)] == [1, None, None]
    assert [row[7] for row in rows_of(created, once=False)] == ["key-1"] * 3
    assert [row[7] for row in rows_of(created, once=True)] == ["key-1", None, None]
    marker = of_version(5, USER_ERASED)
    [shown_marker] = rows_of(marker, once=True)
    assert shown_marker[2:] == [USER_ERASED, "c", None, None, None, None]
    shown = event_fields(created)
    assert shown["issued_by"] == "key-1"
    assert shown["occurred_at"] == "2023-11-14T22:13:21.000Z"
    assert [change["field"] for change in shown["changes"]] == ["email", "name", "age"]


@pytest.mark.parametrize("text", ["beginning", "", "0001-01-01T00:00+14:00", "9999-12-31T23:00-14"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a time like"):
        parse_time(text, datetime.now(UTC))
