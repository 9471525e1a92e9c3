"""Compiled code encodes and decodes exactly as fastavro does, broken bytes included."""

import json
from functools import cache
from io import BytesIO
from typing import Any

import pytest
from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from schemas.coding import compiled
from schemas.coding.codec import RecordCodec, parse, schema_text
from schemas.coding.compiled_decoder import decoder
from schemas.errors import Poisoned
from schemas.topics import TOPICS
from tests.unit.schemas.coding.avro import ordinary, values

NAMES = sorted({topic.schema for topic in TOPICS})
SCHEMAS = {name: parse(schema_text(name)) for name in NAMES}
RECORDS = {name: values(json.loads(schema_text(name))) for name in NAMES}


def by_fastavro(name: str, record: Any) -> bytes:
    buffer = BytesIO()
    schemaless_writer(buffer, SCHEMAS[name], record)
    return buffer.getvalue()


@cache
def codec(name: str) -> RecordCodec[Any]:
    return RecordCodec(name, 7, lambda _id: "")


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
def test_it_codes_as_fastavro_does(name: str, data: st.DataObject) -> None:
    """Byte for byte and field for field, with compiled code and with the fallback."""
    record = data.draw(RECORDS[name])
    encoded = codec(name).encode(record)
    assert encoded == b"\0\0\0\0\x07" + by_fastavro(name, record)
    assert codec(name).decode(encoded) == record


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
def test_broken_bytes_are_read_or_refused_as_by_fastavro(name: str, data: st.DataObject) -> None:
    good = by_fastavro(name, data.draw(RECORDS[name]))
    at = data.draw(st.integers(0, len(good)))
    broken = (
        good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 3)) :]
    )
    buffer = BytesIO(broken)
    try:
        expected = schemaless_reader(buffer, SCHEMAS[name], None)
    except Exception:  # noqa: BLE001 - a dozen kinds
        expected = None
    if buffer.tell() != len(broken):
        expected = None
    try:
        found = codec(name).decode(b"\0\0\0\0\x07" + broken)
    except Poisoned:
        found = None
    assert found == expected


@pytest.mark.parametrize("name", NAMES)
def test_ordinary_records_use_compiled_code(name: str) -> None:
    """Otherwise the fallback would do all the work, and slowly."""
    record = ordinary(json.loads(schema_text(name)))
    body = compiled.encoder(schema_text(name))(record)
    assert decoder(schema_text(name), schema_text(name), 0)(body) == record


def test_a_record_with_missing_fields_is_encoded_by_fastavro() -> None:
    """It fills in the defaults of the schema, or says what is missing."""
    record = {"command_id": "a", "issued_at": 1_790_000_000_000, "kind": "CreateUser"}
    decoded = codec("user_command").decode(codec("user_command").encode(record))
    assert decoded["email"] is None
    with pytest.raises(ValueError, match="issued_at"):
        codec("user_command").encode({"command_id": "a", "kind": "CreateUser"})
