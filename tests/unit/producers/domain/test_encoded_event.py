"""A user packed from the bytes of an event is the one that decoding and packing it gives."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.domain.encoded_event import EncodedEvent, PackedEvent, pack_event
from producers.domain.snapshot import pack, snapshot_of, unpack
from schemas.coding.codec import HEADER_BYTES, RecordCodec, schema_text
from schemas.coding.projection import Projection
from schemas.errors import Poisoned
from schemas.formats import EVENT_SCHEMAS, LATEST_FORMAT
from schemas.identity import partition_of, user_shard, uuid_bytes
from schemas.records import UserEvent
from schemas.trust import MAX_TIME_MS, MAX_VERSION, check_event
from tests.samples.events import event_of, user_id_of

PARTITIONS = 4
JANE = "jane@example.com"
HOME = partition_of(user_shard(user_id_of(JANE)), PARTITIONS)
IDS = {name: number for number, name in EVENT_SCHEMAS.items()}


def codec_of(name: str) -> RecordCodec[UserEvent]:
    return RecordCodec(name, IDS[name], lambda number: schema_text(EVENT_SCHEMAS[number]))


CODECS = {name: codec_of(name) for name in IDS}
LATEST = CODECS[EVENT_SCHEMAS[LATEST_FORMAT]]
EVENTS = Projection(LATEST, EncodedEvent.__annotations__)

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
_ids = st.sampled_from(["c", "ü", user_id_of(JANE), user_id_of(JANE).upper(), "x" * 36]) | _texts
_numbers = st.integers(-1, 300) | st.sampled_from([MAX_VERSION, MAX_VERSION + 1])
_times = st.integers(1_080_000_000_000, 2_300_000_000_000) | st.sampled_from(
    [-1, 0, MAX_TIME_MS, MAX_TIME_MS + 1]
)
_users = st.fixed_dictionaries(
    {
        "email": st.just(JANE) | _texts,
        "email_key": st.just(JANE) | _texts,
        "name": _texts,
        "age": st.integers(-1, 200) | st.sampled_from([65_535, 65_536]),
        "created_at": _times,
        "created_by": _ids,
    }
)
_events = st.fixed_dictionaries(
    {
        "event_id": _texts,
        "command_id": _ids,
        "seq": _numbers,
        "user_id": st.sampled_from([user_id_of(JANE)] * 4 + [user_id_of(JANE).upper(), "no id"]),
        "version": _numbers,
        "occurred_at": _times,
        "type": st.sampled_from(["UserCreated", "UserErased", "UserÜber"]),
        "changes": st.lists(
            st.fixed_dictionaries({"field": _texts, "before": st.none(), "after": _texts}),
            max_size=2,
        ),
        "user": st.none() | _users,
        "issued_by": st.none() | _texts,
    }
)


def directly(value: bytes, key: bytes, partition: int = HOME) -> PackedEvent | None:
    fields = EVENTS.decode(value)
    return None if fields is None else pack_event(fields, key, partition, PARTITIONS)


def decoded(value: bytes, key: bytes, partition: int = HOME) -> PackedEvent | None:
    """Return the same by way of the record; None if it is refused."""
    try:
        event = LATEST.decode_whole(value)
        check_event(event, key, partition, PARTITIONS)
    except Poisoned:
        return None
    numbers = event["seq"], event["occurred_at"]
    return uuid_bytes(event["user_id"]), event["version"], pack(snapshot_of(event)), *numbers


@pytest.mark.parametrize("name", IDS)
@given(_events, st.sampled_from([0, 0, 0, 1]))
def test_it_is_what_decoding_gives_or_nothing(name: str, event: Any, away: int) -> None:
    """Whatever is out of range is left to the rules for records."""
    value, key = CODECS[name].encode(event), event["user_id"].encode()
    partition = (HOME + away) % PARTITIONS
    packed = directly(value, key, partition)
    assert packed in {None, decoded(value, key, partition)}


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"gone": True, "type": "UserErased"},
        {"gone": True, "type": "UserDeleted"},
        {"name": "Zoë", "email_key": "other@example.com", "created_by": user_id_of(JANE)},
        {"command_id": user_id_of(JANE), "created_by": user_id_of(JANE)},
        {"changes": [{"field": "age", "before": 33, "after": 34}], "version": 3, "seq": 1 << 40},
    ],
)
def test_ordinary_events_are_packed(name: str, fields: dict[str, Any]) -> None:
    """Of both formats, with and without a user."""
    event = event_of(JANE, fields.pop("version", 1), **fields)
    value, key = CODECS[name].encode(event), event["user_id"].encode()
    assert directly(value, key) == decoded(value, key) is not None
    assert directly(value, b"another key") is None


@given(st.data())
def test_of_broken_bytes_nothing_is_kept_that_cannot_be_read(data: st.DataObject) -> None:
    event = event_of(JANE, name="Zoë", gone=data.draw(st.booleans()))
    good, key = LATEST.encode(event), event["user_id"].encode()
    at, lost = data.draw(st.integers(HEADER_BYTES, len(good))), data.draw(st.integers(0, 2))
    broken = good[:at] + data.draw(st.binary(max_size=2)) + good[at + lost :]
    packed, wanted = directly(broken, key), decoded(broken, key)
    assert packed is None or wanted in {None, packed}
    if packed is not None:
        unpack(packed[2])


def test_no_value_and_an_unknown_schema_are_left_to_the_codec() -> None:
    assert EVENTS.decode(None) is None
    assert EVENTS.decode(b"no Avro") is None


def test_an_event_with_a_field_that_we_lack_is_left_to_the_codec() -> None:
    """A handler of this release must not go on as if it knew the whole event."""
    newest: RecordCodec[UserEvent] = RecordCodec(
        EVENT_SCHEMAS[1], IDS[EVENT_SCHEMAS[1]], lambda number: schema_text(EVENT_SCHEMAS[number])
    )
    older = Projection(newest, EncodedEvent.__annotations__)
    assert older.decode(LATEST.encode(event_of(JANE))) is None
