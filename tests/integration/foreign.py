"""Records that no process of ours wrote: foreign bytes, forged events, those of later releases."""

import json
import uuid
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from runtime.kafka.clients import producer
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.coding.codec import schema_text
from schemas.identity import email_shard, partition_of
from schemas.records import UserEvent
from schemas.topics import EVENTS, Topic
from tests.samples.events import NOW, event_of

SECRET = "qsecretq"  # in the names and addresses below; it must never occur in a message or a log
_IDS_AHEAD = 3


def forged(settings: Settings, tag: str, **fields: Any) -> tuple[UserEvent, int]:
    """Return an event that no handler wrote, and the partition of its user."""
    # The time does not follow from the version, which may be the greatest there is.
    own = {"seq": 1000, "name": "Forged", "age": 40, "occurred_at": NOW}
    for field, value in own.items():
        fields.setdefault(field, value)
    email = f"{tag}@example.com"
    # By the address, since `fields` may contain an id that has no shard.
    return event_of(email, **fields), partition_of(email_shard(email), settings.partitions)


class ForeignWriter:
    """Writes bytes to any topic and returns their place: (topic, partition, offset)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = producer(settings)
        self._events = Registry(settings).codec(EVENTS.schema)

    def put(
        self, topic: Topic, value: bytes | None, key: bytes | None, partition: int = 0
    ) -> tuple[str, int, int]:
        """Write one record and wait until it is stored."""
        stored: list[int | None] = []
        name = self._settings.named(topic.name)
        self._producer.produce(
            name,
            value,
            key,
            partition,
            on_delivery=lambda error, it: stored.append(None if error else it.offset()),
        )
        assert self._producer.flush(30) == 0
        [offset] = stored
        assert offset is not None
        return name, partition, offset

    def put_event(
        self, event: UserEvent, partition: int, topic: Topic = EVENTS
    ) -> tuple[str, int, int]:
        """Write an event as the handler would, whatever it contains."""
        key = event["user_id"] if topic is EVENTS else event["event_id"]
        return self.put(topic, self._events.encode(event), key.encode(), partition)


class Future:
    """A later release, whose schema has one more field and is not registered yet.

    `framed` makes a record of it, which cannot be read before `arrive`.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._config = {"url": settings.registry_url, "timeout": 10}
        self._subject = settings.named(f"future-{name}")
        self._name = name
        # The registry assigns ids in ascending order.
        self.schema_id = self._register() + _IDS_AHEAD

    def framed(self, value: bytes) -> bytes:
        """Return today's record as the later release writes it, with "x" in the new field."""
        return value[:1] + self.schema_id.to_bytes(4) + value[5:] + b"\x02\x02x"

    def arrive(self) -> None:
        """Register such schemas until one of them has the id of the records."""
        while self._register() < self.schema_id:
            pass

    def _register(self) -> int:
        schema = json.loads(schema_text(self._name))
        field = {"name": f"f{uuid.uuid4().hex}", "type": ["null", "string"], "default": None}
        schema["fields"].append(field)
        subject = f"{self._subject}-{uuid.uuid4().hex}"
        with SchemaRegistryClient(self._config) as registry:
            return int(registry.register_schema(subject, Schema(json.dumps(schema), "AVRO")))
