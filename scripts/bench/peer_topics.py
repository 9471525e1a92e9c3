"""The topics that the peers read: the same users as flat records, ready for their stores.

Our events nest the user and carry what changed; a sink that writes what it reads cannot use them.
So its records hold just the columns of our table, or the document that our projector would send,
folded text included: what ours works out on the way, the peers are given.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from fastavro import parse_schema, schemaless_writer

from projectors.elasticsearch.index.mapping import document
from runtime.kafka import admin, producer_config
from runtime.settings import Settings
from schemas.codec import MAGIC
from schemas.identity import partition_of, user_shard
from schemas.records import UserEvent
from scripts.bench.event_log import events, send

_TIME: Final = {"type": "long", "logicalType": "timestamp-millis"}
_ROW_TYPES: Final[Mapping[str, Any]] = {
    "user_id": "string",
    "version": "long",
    "email": "string",
    "name": "string",
    "age": "int",
    "created_at": _TIME,
    "updated_at": _TIME,
}
_AVRO_TYPES: Final[Mapping[type, Any]] = {
    str: "string",
    int: "long",
    bool: "boolean",
    list: {"type": "array", "items": "string"},
}
_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class PeerTopics:
    """Names of topics that hold one flat record a user: rows for a table, documents for an index.

    Keys are user ids as text, values Avro in the Confluent wire format with a registered schema.
    """

    rows: str
    documents: str


@contextmanager
def peer_topics(settings: Settings, count: int) -> Iterator[PeerTopics]:
    """Give topics with the creations of `count` users; they and their schemas go at the end."""
    topics = PeerTopics(settings.named("peer-rows"), settings.named("peer-documents"))
    client = admin(settings)
    made = [NewTopic(t, settings.partitions, 1) for t in (topics.rows, topics.documents)]
    for creation in client.create_topics(made).values():
        creation.result()
    try:
        sample = next(document(event) for event in events(1))
        _write(settings, topics.rows, _ROW_TYPES, map(_row, events(count)))
        types = {name: _AVRO_TYPES[type(value)] for name, value in sample.items()}
        _write(settings, topics.documents, types, map(document, events(count)))
        yield topics
    finally:
        _remove(settings, client, topics)


def _remove(settings: Settings, client: AdminClient, topics: PeerTopics) -> None:
    for deletion in client.delete_topics([topics.rows, topics.documents]).values():
        deletion.result()
    with _registry(settings) as registry:
        there = registry.get_subjects()
        for topic in (topics.rows, topics.documents):
            if _subject(topic) in there:
                registry.delete_subject(_subject(topic))


def _row(event: UserEvent) -> dict[str, Any]:
    """Return the plain columns of our table."""
    user = event["user"]
    assert user is not None  # noqa: S101 - these users were just created
    return {
        "user_id": event["user_id"],
        "version": event["version"],
        "email": user["email"],
        "name": user["name"],
        "age": user["age"],
        "created_at": user["created_at"],
        "updated_at": event["occurred_at"],
    }


def _write(
    settings: Settings, topic: str, types: Mapping[str, Any], records: Iterable[dict[str, Any]]
) -> None:
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    record = {"type": "record", "name": _record_name(topic), "fields": fields}
    with _registry(settings) as registry:
        schema_id = registry.register_schema(_subject(topic), Schema(json.dumps(record), "AVRO"))
    schema, header = parse_schema(record), MAGIC + schema_id.to_bytes(4)
    producer = Producer(producer_config(settings))
    waiting: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, values in enumerate(records, 1):
        buffer = BytesIO()
        buffer.write(header)
        schemaless_writer(buffer, schema, values)
        partition = partition_of(user_shard(values["user_id"]), settings.partitions)
        waiting[partition].append({"key": values["user_id"], "value": buffer.getvalue()})
        if number % _AT_ONCE == 0:
            send(producer, topic, waiting)
    send(producer, topic, waiting)


def _subject(topic: str) -> str:
    return f"{topic}-value"


def _record_name(topic: str) -> str:
    return topic.replace("-", "_")


@contextmanager
def _registry(settings: Settings) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": settings.registry_url}) as client:
        yield client
