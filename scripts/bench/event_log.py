"""Puts events on the log as the handler writes them, so that projectors have something to read.

Nothing is decided: a hundred thousand users stand there within seconds. They are the same, with the
same ids, in every run, so that whoever is measured has the same work.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from confluent_kafka import Producer

from runtime.kafka import producer_config
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import CheckFailed
from schemas.identity import email_shard, event_id, new_user_id, partition_of, user_shard
from schemas.records import USER_CREATED, USER_UPDATED, FieldChange, UserEvent
from schemas.topics import EVENTS
from scripts.bench.people import Person, people

_CREATED_AT = 1_790_000_000_000
_AT_ONCE = 50_000
_FLUSH_SECONDS = 60.0


class EventWriter:
    """Writes the events of a log that nobody else writes to: seq and version without a gap."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(producer_config(settings))
        self._encode = Registry(settings).codec(EVENTS.schema).encode
        self._topic = settings.named(EVENTS.name)
        self._seqs = Counter[int]()

    def write(self, events: Iterable[UserEvent]) -> None:
        """Write events, each of which gets the next seq of its partition."""
        records: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for number, event in enumerate(events, 1):
            partition = partition_of(user_shard(event["user_id"]), self._settings.partitions)
            self._seqs[partition] += 1
            event["seq"] = self._seqs[partition]
            records[partition].append({"key": event["user_id"], "value": self._encode(event)})
            if number % _AT_ONCE == 0:
                send(self._producer, self._topic, records)
        send(self._producer, self._topic, records)


def send(producer: Producer, topic: str, records: dict[int, list[dict[str, Any]]]) -> None:
    """Send partition → records and forget them, once the broker has them all."""
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
        raise CheckFailed(f"Kafka did not take the records of {topic}: {failed[:1]}")


def events(count: int) -> Iterator[UserEvent]:
    """Yield the creations of the `count` people of every benchmark."""
    return events_of(people(count))


def events_of(persons: Iterable[Person], version: int = 1) -> Iterator[UserEvent]:
    """Yield what brings each of these people to `version`; their seq is not set yet."""
    for number, person in enumerate(persons):
        yield user_event(number, person, version)


def user_event(number: int, person: Person, version: int = 1) -> UserEvent:
    """Return the event that brings a user to `version`; the same for the same arguments."""
    user_id = user_id_of(number, person)
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
        "occurred_at": _CREATED_AT + version - 1,
        "type": USER_UPDATED if changes else USER_CREATED,
        "changes": changes,
        "user": {
            "email": person.email,
            "email_key": person.email,
            "name": name,
            "age": person.age,
            "created_at": _CREATED_AT,
            "created_by": f"bench-{number}-1",
        },
    }


def user_id_of(number: int, person: Person) -> str:
    """Return the id of one of `people`."""
    return new_user_id(email_shard(person.email), _CREATED_AT, number)


def name_at(person: Person, version: int) -> str:
    """Return what a user is called at `version`."""
    return person.name if version == 1 else f"{person.name} {version}"
