"""The topics that the peers read: the same users as flat records, ready for their stores.

Our events nest the user and carry what changed; a sink that writes what it reads cannot use them.
So these records hold the columns of our table, or the document that our projector would send with
its folded text: the peers are given what our projectors have to compute.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from projectors.elasticsearch.index.mapping import document
from runtime.kafka.clients import admin, producer_config
from runtime.settings import Settings
from schemas.records import UserEvent
from scripts.bench.workload.event_log import events, send

_AVRO_TYPES: Final[Mapping[type, Any]] = {
    str: "string",
    int: "long",
    bool: "boolean",
    datetime: {"type": "long", "logicalType": "timestamp-millis"},
}


@dataclass(frozen=True, slots=True)
class PeerTopics:
    """Topics with one flat record per user: rows for a table, documents for an index.

    Keys are user ids as text, values Avro in the Confluent wire format with a registered schema.
    """

    rows: str
    documents: str


@contextmanager
def peer_topics(settings: Settings, count: int) -> Iterator[PeerTopics]:
    """Yield topics with the creations of `count` users; remove them and their schemas after."""
    contents = {"peer-rows": table_row, "peer-documents": document}
    names = [settings.named(topic) for topic in contents]
    client = admin(settings)
    for creation in client.create_topics(
        [NewTopic(name, settings.partitions, 1) for name in names]
    ).values():
        creation.result()
    with SchemaRegistryClient({"url": settings.registry_url}) as registry:
        try:
            for topic, record_of in contents.items():
                _write(settings, registry, topic, record_of, count)
            yield PeerTopics(*names)
        finally:
            for deletion in client.delete_topics(names).values():
                deletion.result()
            for subject in {f"{name}-value" for name in names} & set(registry.get_subjects()):
                registry.delete_subject(subject)


def table_row(event: UserEvent) -> dict[str, Any]:
    """Return the plain columns of our table."""
    user = event["user"]
    assert user is not None  # noqa: S101 - these users were just created
    return {
        "user_id": event["user_id"],
        "version": event["version"],
        "email": user["email"],
        "name": user["name"],
        "age": user["age"],
        "created_at": datetime.fromtimestamp(user["created_at"] / 1000, UTC),
        "updated_at": datetime.fromtimestamp(event["occurred_at"] / 1000, UTC),
    }


def _write(
    settings: Settings,
    registry: SchemaRegistryClient,
    topic: str,
    record_of: Callable[[UserEvent], dict[str, Any]],
    count: int,
) -> None:
    sample = record_of(next(events(1)))
    fields = [{"name": name, "type": _AVRO_TYPES[type(value)]} for name, value in sample.items()]
    record = {"type": "record", "name": topic.replace("-", "_"), "fields": fields}
    serialize = AvroSerializer(registry, json.dumps(record))
    context = SerializationContext(settings.named(topic), MessageField.VALUE)
    records = map(record_of, events(count))
    values = ((one["user_id"], serialize(one, context) or b"") for one in records)
    send(Producer(producer_config(settings)), settings, topic, values)
