"""The codec reads every schema version ever shipped, and rejects everything foreign."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastavro import schemaless_reader
from hypothesis import given
from hypothesis import strategies as st

from schemas import avro, records
from schemas.coding.codec import RecordCodec, parse, schema_text
from schemas.errors import Poisoned, Unavailable
from schemas.formats import ADDRESS_MESSAGE_SCHEMAS, EVENT_SCHEMAS, MARK_SCHEMA
from schemas.topics import SCHEMAS, TOPICS

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted({MARK_SCHEMA, *(topic.schema for topic in TOPICS)})
VERSIONS = sorted(path.name for path in GOLDEN.iterdir())
NEWEST = max(VERSIONS, key=lambda version: int(version[1:]))
TYPES: dict[str, Any] = {
    "user_command": records.UserCommand,
    "user_event.2": records.UserEvent,
    "command_outcome": records.CommandOutcome,
    "dead_letter": records.DeadLetter,
    "email_claim": records.EmailClaim,
    "email_hop.2": records.AddressMessage,
    "log_format": records.LogFormat,
}
# Not the golden files' id, so that they are read as another writer's.
OUR_ID = 1000
SECRET = "jane.secret@example.com"


def no_other_schema(schema_id: int) -> str:
    raise Poisoned(f"the registry has no Avro schema with id {schema_id}", code="unknown_schema")


def codec(name: str = "user_event.2") -> RecordCodec[Any]:
    return RecordCodec(name, OUR_ID, no_other_schema)


def golden(version: str, name: str, kind: str) -> Path:
    """Return the path of a golden file; its name has no format."""
    return GOLDEN / version / f"{name.partition('.')[0]}.{kind}"


SHIPPED = [
    (version, name)
    for version in VERSIONS
    for name in NAMES
    if golden(version, name, "avsc").exists()
]


def golden_record(version: str, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(golden(version, name, "json").read_text("utf-8"))
    if isinstance(record.get("digest"), str):
        record["digest"] = bytes.fromhex(record["digest"])
    return record


def secret_event() -> dict[str, Any]:
    event = golden_record(NEWEST, "user_event")
    event["user"] |= {"email": SECRET, "email_key": SECRET, "name": SECRET}
    return event


def poisoned_code(reader: RecordCodec[Any], value: bytes | None) -> str:
    with pytest.raises(Poisoned) as caught:
        reader.decode(value)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value.code


@pytest.mark.parametrize(("version", "name"), SHIPPED)
def test_reads_every_schema_ever_shipped(version: str, name: str) -> None:
    """Today's code reads a record written by any shipped version, field for field."""
    shipped = golden(version, name, "avsc").read_text("utf-8")
    reader: RecordCodec[Any] = RecordCodec(name, OUR_ID, lambda _id: shipped)
    decoded = reader.decode(golden(version, name, "bin").read_bytes())
    expected = golden_record(version, name)
    assert {field: decoded[field] for field in expected} == expected


@pytest.mark.parametrize(("version", "name"), SHIPPED)
def test_every_schema_ever_shipped_reads_ours(version: str, name: str) -> None:
    """Compatibility is full: a reader of any shipped version reads what we write today."""
    ours = codec(name).encode(golden_record(version, name))
    shipped = parse(golden(version, name, "avsc").read_text("utf-8"))
    writer: Any = parse(schema_text(name))
    decoded: Any = schemaless_reader(BytesIO(ours[5:]), writer, shipped)
    assert decoded == golden_record(version, name)


def test_todays_schemas_are_among_the_golden_ones() -> None:
    """A changed schema needs a new golden version; existing ones are never edited."""
    for name in NAMES:
        shipped = golden(NEWEST, name, "avsc").read_text("utf-8")
        assert json.loads(schema_text(name)) == json.loads(shipped), (
            f"{name}.avsc changed: add golden/v{int(NEWEST[1:]) + 1}, keep {NEWEST}"
        )


@pytest.mark.parametrize("by_format", [EVENT_SCHEMAS, ADDRESS_MESSAGE_SCHEMAS])
def test_the_schemas_of_earlier_formats_are_never_edited(by_format: dict[int, str]) -> None:
    """A partition is written in its format until it is raised, by whatever release."""
    for number, version in ((1, "v3"), (2, "v4")):
        shipped = golden(version, by_format[number], "avsc").read_text("utf-8")
        assert schema_text(by_format[number]) == shipped


def test_every_schema_is_registered() -> None:
    """No process can write a record whose schema `topics ensure` left out."""
    files = {path.stem for path in Path(avro.__file__).parent.glob("*.avsc")}
    assert files == set(SCHEMAS)


@pytest.mark.parametrize("name", NAMES)
def test_typed_dicts_mirror_the_schemas(name: str) -> None:
    schema = json.loads(schema_text(name))
    assert [field["name"] for field in schema["fields"]] == list(TYPES[name].__annotations__)


def test_nested_typed_dicts_mirror_the_schema() -> None:
    """`User` and `FieldChange` have exactly the fields they have inside an event."""
    fields = {field["name"]: field for field in json.loads(schema_text("user_event.2"))["fields"]}
    user = fields["user"]["type"][1]["fields"]
    change = fields["changes"]["type"]["items"]["fields"]
    assert [field["name"] for field in user] == list(records.User.__annotations__)
    assert [field["name"] for field in change] == list(records.FieldChange.__annotations__)


@pytest.mark.parametrize("name", NAMES)
def test_truncation_at_every_length_is_poisoned(name: str) -> None:
    """No prefix of a record is accepted as a record."""
    value = codec(name).encode(golden_record(NEWEST, name))
    for length in range(len(value)):
        expected = "wrong_magic" if length < 5 else "bad_avro"
        assert poisoned_code(codec(name), value[:length]) == expected


def test_each_kind_of_bad_bytes_has_its_code() -> None:
    """No message repeats the payload."""
    value = codec().encode(secret_event())
    assert poisoned_code(codec(), None) == "no_value"
    assert poisoned_code(codec(), b"") == "wrong_magic"
    assert poisoned_code(codec(), b"\x01" + value[1:]) == "wrong_magic"
    assert poisoned_code(codec(), SECRET.encode()) == "wrong_magic"
    assert poisoned_code(codec(), b"\x00\x00\x00\x00\x07" + value[5:]) == "unknown_schema"
    assert poisoned_code(codec(), value + b"\x00") == "trailing_bytes"
    assert poisoned_code(codec(), value.replace(b"secret", b"secre\xff")) == "bad_avro"


@pytest.mark.parametrize(
    "length", [b"\x01", b"\x05", b"\xff" * 9 + b"\x01", b"\xfe" + b"\xff" * 8 + b"\x01"]
)
def test_a_text_of_impossible_length_is_poisoned(length: bytes) -> None:
    """A negative or huge length neither reads past the record nor allocates memory."""
    reader = codec()
    assert poisoned_code(reader, reader.encode(secret_event())[:5] + length + SECRET.encode()) == (
        "bad_avro"
    )


@pytest.mark.parametrize(
    "foreign",
    [
        '"string"',
        '["null", "string"]',
        "no json",
        "{}",
        '{"type": "record", "name": "UserEvent", "namespace": "other", "fields": []}',
        '{"type": "record", "name": "UserEvent", "fields": [{"name": "x", "type": "nothing"}]}',
    ],
)
def test_a_foreign_schema_is_poisoned(foreign: str) -> None:
    """Another record's schema, or none, is never read as ours and never crashes a reader."""
    reader: RecordCodec[Any] = RecordCodec("user_event.2", OUR_ID, lambda _id: foreign)
    assert poisoned_code(reader, b"\x00\x00\x00\x00\x07" + SECRET.encode()) == "wrong_schema"


def test_a_schema_of_our_name_without_our_fields_is_poisoned() -> None:
    """A schema that cannot be resolved to ours poisons its records, not the reader."""
    namesake = json.dumps(
        {"type": "record", "name": "rollbook.UserEvent", "fields": [{"name": "x", "type": "long"}]}
    )
    reader: RecordCodec[Any] = RecordCodec("user_event.2", OUR_ID, lambda _id: namesake)
    assert poisoned_code(reader, b"\x00\x00\x00\x00\x07\x02") == "bad_avro"


def test_an_unavailable_registry_does_not_poison_a_record() -> None:
    """A record whose schema cannot be fetched is retried, never dropped."""

    def absent(_id: int) -> str:
        message = "the schema registry is away"
        raise Unavailable(message)

    reader: RecordCodec[Any] = RecordCodec("user_event.2", OUR_ID, absent)
    with pytest.raises(Unavailable):
        reader.decode(b"\x00\x00\x00\x00\x07\x02")


def test_a_writers_schema_is_fetched_once() -> None:
    """The hot loop asks the registry once per schema id, not once per record."""
    asked = []

    def registry(schema_id: int) -> str:
        asked.append(schema_id)
        return schema_text("user_event.2")

    reader: RecordCodec[Any] = RecordCodec("user_event.2", OUR_ID, registry)
    value = b"\x00\x00\x00\x00\x07" + codec().encode(secret_event())[5:]
    for _ in range(3):
        assert reader.decode(value)["user"]["email"] == SECRET
    assert asked == [7]


@given(position=st.integers(5, 200), bit=st.integers(0, 7))
def test_a_flipped_bit_raises_nothing_but_poisoned(position: int, bit: int) -> None:
    """Damage inside a real record is read or poisoned; the message repeats nothing."""
    value = bytearray(codec().encode(secret_event()))
    value[position % len(value)] ^= 1 << bit
    message = ""
    try:
        codec().decode(bytes(value))
    except Poisoned as poisoned:
        message = str(poisoned)
    assert SECRET not in message
