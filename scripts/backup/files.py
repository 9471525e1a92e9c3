"""Avro object container files: the records of a topic and where each stood.

DuckDB, Spark and fastavro read them. Deflate is the one compression that all of them support
without a further library.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypedDict

from confluent_kafka import Message
from fastavro import block_reader, schemaless_reader, writer

from schemas.coding.codec import parse, schema_text
from schemas.errors import Misconfigured
from schemas.topics import Topic

# Level 6 takes three times as long and saves a tenth.
_COMPRESSION_LEVEL: Final = 1
_HEADERS: Final = {
    "type": "array",
    "items": {
        "type": "record",
        "name": "Header",
        "fields": [
            {"name": "name", "type": "string"},
            {"name": "value", "type": ["null", "bytes"]},
        ],
    },
}
_TIME: Final = {"type": "long", "logicalType": "timestamp-millis"}


class Header(TypedDict):
    """A header of a record on Kafka."""

    name: str
    value: bytes | None


class Copied(TypedDict):
    """A record of the log: its place, time and key on Kafka, and its own fields."""

    partition: int
    offset: int
    timestamp: int
    key: str | None
    headers: list[Header]
    record: Any


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A file of a backup, as the manifest lists it."""

    name: str
    records: int
    size_bytes: int
    sha256: str


def copied(message: Message, record: Mapping[str, Any]) -> Copied:
    """Return what a file holds of `message`, which was decoded to `record`."""
    key = message.key()
    headers: Any = message.headers() or ()
    return {
        "partition": message.partition() or 0,
        "offset": message.offset() or 0,
        "timestamp": max(message.timestamp()[1], 0),
        "key": None if key is None else bytes(key).decode("utf-8", "backslashreplace"),
        "headers": [{"name": name, "value": _as_bytes(v)} for name, v in headers],
        "record": record,
    }


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def file_schema(topic: Topic) -> dict[str, Any]:
    """Return the Avro schema of a file of the records of `topic`."""
    return {
        "type": "record",
        "name": "Copied",
        "namespace": "rollbook.backup",
        "doc": f"A record of {topic.name}, and where it stood in the topic.",
        "fields": [
            {"name": "partition", "type": "int"},
            {"name": "offset", "type": "long"},
            {"name": "timestamp", "type": _TIME, "doc": "Kafka's time of the record."},
            {"name": "key", "type": ["null", "string"]},
            {"name": "headers", "type": _HEADERS},
            {"name": "record", "type": json.loads(schema_text(topic.schema))},
        ],
    }


def write_records(path: Path, topic: Topic, records: Iterable[Copied]) -> BackupFile:
    """Write a file, readable only by its owner, that appears under its name when it is complete."""
    count = 0

    def counted() -> Iterator[Copied]:
        nonlocal count
        for record in records:
            count += 1
            yield record

    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as opened:
        writer(
            opened,
            file_schema(topic),
            counted(),
            codec="deflate",
            codec_compression_level=_COMPRESSION_LEVEL,
        )
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(path)
    return BackupFile(path.name, count, path.stat().st_size, sha256_of(path))


def read_records(path: Path, topic: Topic) -> Iterator[Copied]:
    """Yield the records of a file, with times as integers (ms); ours decide on the fields.

    Block by block, because fastavro's own reader turns times into objects.
    """
    ours = parse(json.dumps(file_schema(topic)))
    with path.open("rb") as opened:
        blocks = block_reader(opened)
        theirs = parse(blocks.metadata["avro.schema"])
        resolve = None if theirs == ours else ours
        for block in blocks:
            data: Any = block
            for _ in range(data.num_records):
                record: Any = schemaless_reader(data.bytes_, theirs, resolve)
                yield record


def sha256_of(path: Path) -> str:
    """Return the checksum of a file. Raises `Misconfigured` (`damaged_backup`) if it is missing."""
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise damaged(path, error.strerror or "cannot be read") from None


def damaged(path: Path, reason: str) -> Misconfigured:
    """Return the error for a file that is not what the backup wrote."""
    return Misconfigured(
        f"the backup is damaged: {path}: {reason}",
        code="damaged_backup",
        next_step="restore from another copy of this folder",
    )
