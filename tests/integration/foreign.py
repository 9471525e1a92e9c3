"""Records that no process of ours wrote: strangers' bytes, forged events, those of the future."""

import json
import uuid
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from runtime.kafka import producer
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.codec import schema_text
from schemas.identity import email_shard, event_id, new_user_id, partition_of
from schemas.records import USER_UPDATED, User, UserEvent
from schemas.topics import EVENTS, Topic

SECRET = "qsecretq"  # in names and addresses given here, and never in what is told of them
_IDS_AHEAD = 3


def forged(settings: Settings, tag: str, **changes: Any) -> tuple[UserEvent, int]:
    """Return an event such as no handler wrote, and the partition its user lives in."""
    email = f"{tag}@example.com"
    user_id = new_user_id(email_shard(email), 1_700_000_000_000, 1)
    user: User = {
        "email": email,
        "email_key": email,
        "name": changes.pop("name", "Forged"),
        "age": changes.pop("age", 40),
        "created_at": 1_700_000_000_000,
        "created_by": "c",
    }
    event: Any = {
        "event_id": event_id(user_id, changes.get("version", 1)),
        "command_id": "c",
        "seq": 1000,
        "user_id": user_id,
        "version": 1,
        "occurred_at": 1_700_000_000_000,
        "type": USER_UPDATED,
        "changes": [],
        "user": user,
    }
    return event | changes, partition_of(email_shard(email), settings.partitions)


class Stranger:
    """Puts bytes on any topic and remembers where they stand: (topic, partition, offset)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = producer(settings)
        self._events = Registry(settings).codec(EVENTS.schema)

    def put(
        self, topic: Topic, value: bytes | None, key: bytes | None, partition: int = 0
    ) -> tuple[str, int, int]:
        """Write one record and wait until it is there."""
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
        """Write an event as the handler would, whatever it says."""
        key = event["user_id"] if topic is EVENTS else event["event_id"]
        return self.put(topic, self._events.encode(event), key.encode(), partition)


class Future:
    """A release to come, which has a field more, and whose schema the registry has yet to learn.

    `framed` makes a record of it. Until `arrive` nobody can read that.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._config = {"url": settings.registry_url, "timeout": 10}
        self._subject = settings.named(f"future-{name}")
        self._name = name
        # Ids are given out in order.
        self.schema_id = self._register() + _IDS_AHEAD

    def framed(self, value: bytes) -> bytes:
        """Return a record of today as the release to come writes it: its new field says "x"."""
        return value[:1] + self.schema_id.to_bytes(4) + value[5:] + b"\x02\x02x"

    def arrive(self) -> None:
        """Register schemas of that kind until one has the id."""
        while self._register() < self.schema_id:
            pass

    def _register(self) -> int:
        schema = json.loads(schema_text(self._name))
        field = {"name": f"f{uuid.uuid4().hex}", "type": ["null", "string"], "default": None}
        schema["fields"].append(field)
        subject = f"{self._subject}-{uuid.uuid4().hex}"
        with SchemaRegistryClient(self._config) as registry:
            return int(registry.register_schema(subject, Schema(json.dumps(schema), "AVRO")))
