"""Which records of the log are trusted; the progress of a replay; lag."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from projectors.contract.read_model import Position, Version
from projectors.contract.source import LATEST_STATE
from projectors.engine.catch_up import CatchUp
from projectors.log.end import LogEnd
from projectors.log.records import (
    Record,
    first_long_run,
    last_per_user,
    pack_ahead,
    packed,
    read_record,
)
from projectors.log.times import iso_time
from projectors.versions.status import BEHIND, CAUGHT_UP, NEVER_RUN, OTHER_TOPIC, partition_statuses
from schemas.errors import Poisoned
from schemas.formats import MARK_SCHEMA, mark_key
from schemas.identity import email_shard, new_user_id, partition_of
from schemas.records import LogFormat, UserEvent
from schemas.topics import EVENTS
from schemas.trust import MAX_VERSION
from tests.samples.codecs import codec
from tests.samples.events import NOW, event_of, user_id_of

EMAIL = "jane@example.com"
USER_ID = user_id_of(EMAIL)
PARTITION = partition_of(email_shard(EMAIL), 4)
CODEC = codec(EVENTS.schema)


def event(version: int = 1, **fields: Any) -> UserEvent:
    # The time does not follow from the version, which may be the greatest there is.
    return event_of(EMAIL, version, **{"occurred_at": NOW, **fields})


def message(key: bytes | None, value: bytes | None, partition: int = PARTITION) -> Message:
    return Message("", partition, 7, key, value)


def read(made: UserEvent, *, key: bytes | None = None, partition: int = PARTITION) -> Record:
    one = message(key or made["user_id"].encode(), CODEC.encode(made), partition)
    return read_record(one, LATEST_STATE, CODEC.decode, 4)


def test_a_good_record_keeps_its_place_and_event() -> None:
    record = read(event())
    assert (record.partition, record.offset, record.poison) == (PARTITION, 7, None)
    assert record.event == event()


def test_an_event_of_an_unknown_type_is_applied_by_its_state() -> None:
    assert read(event(type="UserDreamt")).poison is None
    assert read(event(type="UserVanished", gone=True)).poison is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"version": 0}, "bad_version"),
        ({"version": -1}, "bad_version"),
        ({"version": MAX_VERSION + 1}, "bad_version"),
        ({"seq": 0}, "bad_seq"),
        ({"occurred_at": -1}, "bad_time"),
        ({"occurred_at": 10**15}, "bad_time"),
        ({"command_id": "c" * 256}, "bad_user"),
        ({"command_id": "ж" * 128}, "bad_user"),
        ({"age": -1}, "bad_user"),
        ({"age": 2**16}, "bad_user"),
        ({"name": "n" * 8_001}, "bad_user"),
        ({"email": "山" * 2_667}, "bad_user"),
        ({"user_id": "jane"}, "bad_user_id"),
        ({"user_id": USER_ID.upper()}, "bad_user_id"),
        ({"user_id": new_user_id(0, 0, 0)}, "wrong_partition"),
    ],
)
def test_an_event_out_of_bounds_is_poisoned(fields: dict[str, Any], code: str) -> None:
    poison = read(event(**fields)).poison
    assert poison is not None
    assert poison.code == code
    assert "jane" not in str(poison).lower()


def test_a_record_without_key_or_value_or_under_another_key_is_poisoned() -> None:
    value = CODEC.encode(event())
    cases = [
        (None, value, "no_key"),
        (b"", value, "wrong_key"),
        (b"\xff", value, "wrong_key"),
        (USER_ID.encode(), None, "no_value"),
        (USER_ID.encode(), b"", "wrong_magic"),
        (USER_ID.encode(), b"\x00\x00\x00\x00\x63abc", "unknown_schema"),
    ]
    for key, data, code in cases:
        poison = read_record(message(key, data), LATEST_STATE, CODEC.decode, 4).poison
        assert poison is not None
        assert poison.code == code


def test_the_mark_of_the_format_is_neither_an_event_nor_poison() -> None:
    """Any other bytes under its key are poison, and so is a mark in another partition."""
    mark: LogFormat = {"format": 2, "finalised_at": 1, "finalised_by": None}
    value, key = codec(MARK_SCHEMA).encode(mark), mark_key(PARTITION, 4).encode()
    found = read_record(message(key, value), LATEST_STATE, CODEC.decode, 4)
    assert found == Record(PARTITION, 7, None)
    elsewhere = mark_key(PARTITION - 1, 4).encode()
    for other, data in ((key, b"no avro"), (key, None), (elsewhere, value)):
        assert read_record(message(other, data), LATEST_STATE, CODEC.decode, 4).poison


def test_only_the_highest_version_of_each_user_is_kept() -> None:
    versions = [1, 3, 2, 3]
    records = [Record(0, o, event(version=v, event_id=str(o))) for o, v in enumerate(versions)]
    records.append(Record(0, 4, event(version=9), Poisoned("refused")))
    assert [one.offset for one in last_per_user(records)] == [1]


def test_a_batch_is_packed_as_a_whole_or_not_at_all() -> None:
    """What cannot be packed is refused by the write, which says why."""
    marks = Record(0, 0, None)
    good, bad = ([Record(0, n, event(version=n)) for n in (first, first + 1)] for first in (1, 3))

    class Model:
        def pack_event(self, one: UserEvent) -> int:
            return 24 // (3 - one["version"])

    pack_ahead([marks, *good], Model())
    assert packed(good) == [12, 24]
    pack_ahead([*bad], Model())
    assert packed([*good, *bad]) == packed([marks]) == []


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 6), st.integers(0, 6))
def test_a_long_run_is_found_at_the_same_index_as_by_counting(
    poisoned: list[bool], limit: int, before: int
) -> None:
    records = [Record(0, o, None, Poisoned("x") if bad else None) for o, bad in enumerate(poisoned)]
    marks = "x" * before + "".join("x" if bad else "." for bad in poisoned)
    at = marks.find("x" * (limit + 1), 0)
    if before > limit:
        return
    expected = None if at < 0 else max(0, at - before)
    assert first_long_run(records, limit, before) == expected


def test_a_replay_logs_its_start_its_rate_and_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    caplog.set_level(logging.INFO)
    catch_up = CatchUp(clock=lambda: now[0])
    catch_up.begin(0, 0, 1000)
    catch_up.begin(1, 5, 5)
    now[0] = 6.0
    catch_up.applied(600, {0: 600})
    now[0] = 8.0
    catch_up.applied(399, {0: 1000})
    catch_up.applied(1, {0: 1001})
    assert [record.getMessage() for record in caplog.records] == [
        "replay: partition 0 from 0 to 1000",
        "replay: 600 events, 100/s, 1 partitions to go",
        "caught up in 8.0 s (999 events)",
    ]


def test_lag_is_counted_in_events_not_in_offsets() -> None:
    """An idle log has a transaction marker after its last event, which is not lag."""
    ends = dict.fromkeys(range(4), LogEnd(0, 12, 10))
    checkpoint = {
        0: Position("t", 11, 10, applied_at=5),
        1: Position("t", 8, 7),
        2: Position("other", 11, 10),
    }
    version = Version(2, "ready", live=True, created_at=1, live_since=1)
    found = partition_statuses("m", version, checkpoint, "t", ends)
    assert {(s.read_model, s.version, s.live) for s in found} == {("m", 2, True)}
    assert [(s.state, s.lag) for s in found] == [
        (CAUGHT_UP, 0),
        (BEHIND, 3),
        (OTHER_TOPIC, None),
        (BEHIND, 10),
    ]
    assert {s.state for s in partition_statuses("m", None, {}, "t", ends)} == {NEVER_RUN}


def test_times_are_printed_in_utc_to_the_millisecond() -> None:
    assert iso_time(1_700_000_000_250) == "2023-11-14T22:13:20.250Z"
    assert iso_time(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"
