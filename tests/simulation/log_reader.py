"""The committed records of a run, decoded by fastavro alone and ordered as they were committed."""

import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import fastavro

from schemas import avro
from schemas.topics import SCHEMAS
from tests.simulation.simulated.cluster import PARTITIONS, SimulatedLog

_FOLDER = Path(avro.__file__).parent
_HEADER_BYTES = 5  # a zero byte and the schema's id


class LogRecord(NamedTuple):
    """One committed record, ever appended; `value` is None for a tombstone."""

    partition: int
    offset: int
    key: str
    value: dict[str, Any] | None
    commit: int  # the number of its transaction, in the order of their ends


@cache
def _schema(number: int) -> Any:
    text = (_FOLDER / f"{SCHEMAS[number]}.avsc").read_text()
    return fastavro.parse_schema(json.loads(text, object_hook=_as_numbers))


def _as_numbers(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a schema without the logical types, so that times are read as numbers."""
    return {name: value for name, value in schema.items() if name != "logicalType"}


def decode(value: bytes) -> dict[str, Any]:
    """Return a record as any Avro library reads it."""
    number = int.from_bytes(value[1:_HEADER_BYTES], "big")
    schema = _schema(number)
    found = fastavro.schemaless_reader(io.BytesIO(value[_HEADER_BYTES:]), schema, schema)
    assert isinstance(found, dict)
    return found


def committed(log: SimulatedLog, topic: str) -> Iterator[LogRecord]:
    """Yield every record of a topic, by partition and offset; recorded positions are left out."""
    order = {id(one): number for number, one in enumerate(log.committed_order, 1)}
    for number in range(PARTITIONS):
        for offset, entry in log.archive(topic, number):
            if entry.is_visible() and entry.key is not None and entry.key != b"position":
                value = None if entry.value is None else decode(entry.value)
                commit = order.get(id(entry.transaction), 0)
                yield LogRecord(number, offset, entry.key.decode(), value, commit)
