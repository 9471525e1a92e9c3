"""Records of other releases' schemas are decoded by compiled code, exactly as fastavro does."""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from schemas.coding.codec import RecordCodec, parse, schema_text
from schemas.coding.compiled import UnusualError
from schemas.coding.compiled_decoder import decoder
from schemas.errors import Poisoned
from tests.unit.schemas.coding.avro import of_another_release, ordinary, values

EVENT = schema_text("user_event")
HEADER = b"\0\0\0\0\x08"
Schema = dict[str, Any]


def written(writer: Any, record: Any) -> bytes:
    buffer = BytesIO()
    schemaless_writer(buffer, parse(json.dumps(writer)), record)
    return buffer.getvalue()


def by_fastavro(body: bytes, writer: Any, reader: str) -> Any:
    """Return the record as the schema `reader` has it, or None if that is impossible."""
    buffer = BytesIO(body)
    try:
        record = schemaless_reader(buffer, parse(json.dumps(writer)), parse(reader))
    except Exception:  # noqa: BLE001 - a dozen kinds
        return None
    return record if buffer.tell() == len(body) else None


def by_codec(body: bytes, writer: Any, name: str) -> Any:
    reader: RecordCodec[Any] = RecordCodec(name, 7, lambda _id: json.dumps(writer))
    try:
        return reader.decode(HEADER + body)
    except Poisoned:
        return None


@pytest.mark.parametrize("name", ["user_event", "email_claim"])  # all kinds of types
@given(st.data())
def test_a_record_of_another_schema_is_resolved_as_by_fastavro(
    name: str, data: st.DataObject
) -> None:
    """Broken bytes too."""
    writer = data.draw(of_another_release(json.loads(schema_text(name))))
    body = written(writer, data.draw(values(writer)))
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=2)) + body[at:]
    for one in (body, damaged, body[:at]):
        assert by_codec(one, writer, name) == by_fastavro(one, writer, schema_text(name))


def event_schema() -> Schema:
    schema: Schema = json.loads(EVENT)
    return schema


def without_a_field(schema: Schema) -> Schema:
    return schema | {"fields": [f for f in schema["fields"] if f["name"] != "changes"]}


def with_a_field(schema: Schema) -> Schema:
    added = {"name": "reason", "type": ["null", "string"], "default": None}
    return schema | {"fields": [*schema["fields"], added]}


def with_a_field_of_the_user(schema: Schema) -> Schema:
    *fields, user = schema["fields"]
    branches = ["null", with_a_field(user["type"][1])]
    return schema | {"fields": [*fields, user | {"type": branches}]}


def in_reverse(schema: Schema) -> Schema:
    return schema | {"fields": schema["fields"][::-1]}


EVOLVED = [dict, without_a_field, with_a_field, with_a_field_of_the_user, in_reverse]


@pytest.mark.parametrize("evolve", EVOLVED)
def test_an_ordinary_record_of_another_schema_uses_compiled_code(
    evolve: Callable[[Schema], Schema],
) -> None:
    """Otherwise fastavro would do all the work, and slowly."""
    writer = evolve(event_schema())
    body = written(writer, ordinary(writer))
    decode = decoder(json.dumps(writer), EVENT, 0)
    assert decode(body) == by_fastavro(body, writer, EVENT)


def test_a_huge_schema_is_not_compiled() -> None:
    """Compiling one of 100,000 fields would stop the handler's loop for seconds."""
    fields = [{"name": f"f{n}", "type": "long"} for n in range(100_000)]
    writer = json.dumps(event_schema() | {"fields": fields})
    with pytest.raises(UnusualError):
        decoder(writer, EVENT, 0)(b"")


@pytest.mark.parametrize("evolve", EVOLVED)
def test_a_record_is_read_whole_only_if_ours_has_all_of_its_fields(
    evolve: Callable[[Schema], Schema],
) -> None:
    """The handler writes a restored user again: a field that it dropped would be lost."""
    writer = evolve(event_schema())
    value = HEADER + written(writer, ordinary(writer))
    reader: RecordCodec[Any] = RecordCodec("user_event", 7, lambda _id: json.dumps(writer))
    if evolve in {with_a_field, with_a_field_of_the_user}:
        with pytest.raises(Poisoned) as caught:
            reader.decode_whole(value)
        assert caught.value.code == "newer_schema"
    else:
        assert reader.decode_whole(value) == reader.decode(value)
