"""Puts events on the log as the handler writes them, so that projectors have something to read.

Nothing is decided, so that a hundred thousand users take seconds. They and their ids are the same
in every run, so that everything measured has the same work.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from projectors.log.event_log import read_log
from runtime.kafka.clients import admin, producer_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import CheckFailed
from schemas.identity import email_key, email_shard, event_id, new_user_id, partition_of, user_shard
from schemas.records import USER_CREATED, USER_UPDATED, FieldChange, UserEvent
from schemas.topics import EVENTS
from scripts.bench.workload.people import Person, people

CREATED_AT: Final = 1_790_000_000_000
UPDATES: Final = 10
_AT_ONCE: Final = 50_000
_FLUSH_SECONDS: Final = 60.0
# Cleaned as soon as a segment is closed, one second after its first record.
_QUICKLY: Final = {
    "segment.ms": "1000",
    "max.compaction.lag.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
}
# Only the next record closes a segment, so this many users, of every partition, keep changing.
_RESTLESS: Final = 500
_LEFT_OVER: Final = 1.02
_MOST_SECONDS: Final = 180.0


class EventWriter:
    """Writes the events of a log that has no other writer: seq and version without a gap."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(producer_config(settings))
        self._encode = Registry(settings).codec(EVENTS.schema).encode
        self._seqs = Counter[int]()

    def write(self, events: Iterable[UserEvent]) -> None:
        """Write events; each gets the next seq of its partition."""
        send(self._producer, self._settings, EVENTS.name, map(self._record, events))

    def _record(self, event: UserEvent) -> tuple[str, bytes]:
        partition = partition_of(user_shard(event["user_id"]), self._settings.partitions)
        self._seqs[partition] += 1
        event["seq"] = self._seqs[partition]
        return event["user_id"], self._encode(event)


def send(
    producer: Producer, settings: Settings, topic: str, records: Iterable[tuple[str, bytes]]
) -> None:
    """Send (user id, value) to the users' partitions; return once the broker has stored them all.

    Raises `CheckFailed` if it refuses one or takes longer than a minute for 50,000.
    """
    waiting: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, (user_id, value) in enumerate(records, 1):
        partition = partition_of(user_shard(user_id), settings.partitions)
        waiting[partition].append({"key": user_id, "value": value})
        if number % _AT_ONCE == 0:
            _flush(producer, settings.named(topic), waiting)
    _flush(producer, settings.named(topic), waiting)


def _flush(producer: Producer, topic: str, records: dict[int, list[dict[str, Any]]]) -> None:
    failed: list[Any] = []

    def answered(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    for partition, some in records.items():
        producer.produce_batch(topic, some, partition=partition, on_delivery=answered)
        failed += [record["_error"] for record in some if "_error" in record]
    records.clear()
    producer.flush(_FLUSH_SECONDS)
    if failed or len(producer):
        raise CheckFailed(f"Kafka did not store the records of {topic}: {failed[:1]}")


def events(count: int, version: int = 1) -> Iterator[UserEvent]:
    """Yield what brings each of the first `count` people to `version`; their seq is not set yet."""
    return (user_event(number, one, version) for number, one in enumerate(people(count)))


def user_event(
    number: int, person: Person, version: int = 1, *, created_at: int = CREATED_AT
) -> UserEvent:
    """Return the event that brings a user to `version`; the same for the same arguments."""
    user_id = user_id_of(number, person, created_at)
    name = name_at(person, version)
    changes: list[FieldChange] = []
    if version > 1:
        changes.append({"field": "name", "before": name_at(person, version - 1), "after": name})
    return {
        "event_id": event_id(user_id, version),
        "command_id": f"bench-{number}-{version}",
        "seq": 0,
        "user_id": user_id,
        "version": version,
        "occurred_at": created_at + version - 1,
        "type": USER_UPDATED if changes else USER_CREATED,
        "changes": changes,
        "user": {
            "email": person.email,
            "email_key": email_key(person.email),
            "name": name,
            "age": person.age,
            "created_at": created_at,
            "created_by": f"bench-{number}-1",
        },
        "issued_by": None,
    }


def user_id_of(number: int, person: Person, created_at: int = CREATED_AT) -> str:
    """Return the id of one of the people."""
    return new_user_id(email_shard(email_key(person.email)), created_at, number)


def name_at(person: Person, version: int) -> str:
    """Return a user's name at `version`."""
    return person.name if version == 1 else f"{person.name} {version}"


def write_compacted(settings: Settings, count: int) -> int:
    """Create `count` users, update each ten times and wait until Kafka has compacted the log.

    Returns how many events are left. Raises `CheckFailed` if that takes over three minutes.
    """
    _clean_quickly(settings)
    codec = Registry(settings).codec(EVENTS.schema)
    writer = EventWriter(settings)
    for version in range(1, 2 + UPDATES):
        writer.write(events(count, version))
    restless, version = min(count, _RESTLESS), 1 + UPDATES
    deadline = time.monotonic() + _MOST_SECONDS
    while True:
        time.sleep(1.1)  # the age at which the next record closes a segment
        version += 1
        writer.write(events(restless, version))
        log = read_log(
            settings, codec, EVENTS, range(settings.partitions), "beginning", follow=False
        )
        left = sum(map(len, log))
        if left <= count * _LEFT_OVER + 2 * restless:
            return left
        if time.monotonic() > deadline:
            raise CheckFailed(
                f"Kafka has compacted the log of {count:,} users to {left:,} events only"
            )


def _clean_quickly(settings: Settings) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in _QUICKLY.items()
    ]
    topic = ConfigResource(
        ResourceType.TOPIC, settings.named(EVENTS.name), incremental_configs=entries
    )
    client = admin(settings)  # kept in a variable: a garbage-collected client drops its requests
    for altered in client.incremental_alter_configs([topic]).values():
        altered.result()
