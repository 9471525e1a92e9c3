"""Writes events to the log without a handler, so that read models can be tested alone."""

from typing import Any

from confluent_kafka import Producer

from runtime.kafka.clients import transactional_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.identity import partition_of, user_shard
from schemas.topics import EVENTS
from tests.samples.events import event_of, user_id_of


def email_of(number: int) -> str:
    """Return the address of user `number`."""
    return f"user{number}@example.com"


def id_of(number: int) -> str:
    """Return the id of user `number`."""
    return user_id_of(email_of(number), number)


class ForgedLog:
    """Writes events as a handler would: in transactions, with a seq that has no gaps."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._topic = settings.named(EVENTS.name)
        self._codec = Registry(settings).codec(EVENTS.schema)
        self._producer = Producer(transactional_config(settings, settings.named("forged")))
        self._producer.init_transactions(20)
        self._seqs = [0] * settings.partitions
        self.versions: dict[str, int] = {}  # of live users
        self._last: dict[str, int] = {}

    def users(self, first: int, count: int, version: int = 1, **state: Any) -> None:
        """Write one event of each of these users, in one transaction."""
        self._producer.begin_transaction()
        for number in range(first, first + count):
            self._event(number, version, state)
        self._producer.commit_transaction()

    def gone(self, first: int, count: int, version: int, kind: str) -> None:
        """Write an event of this kind that removes each of these users, in one transaction."""
        self._producer.begin_transaction()
        for number in range(first, first + count):
            self._event(number, version, None, kind)
        self._producer.commit_transaction()

    def aborted(self, count: int) -> None:
        """Write users in a transaction that is aborted: no reader may see them."""
        seqs, versions, last = list(self._seqs), dict(self.versions), dict(self._last)
        self._producer.begin_transaction()
        for number in range(count):
            self._event(900_000 + number, 1, {})
        self._producer.flush()
        self._producer.abort_transaction()
        self._seqs, self.versions, self._last = seqs, versions, last

    def raw(self, key: bytes | None, value: bytes | None, partition: int = 0) -> None:
        """Write a record of any bytes, in a transaction."""
        self._producer.begin_transaction()
        self._producer.produce(self._topic, value, key, partition)
        self._producer.commit_transaction()

    def _event(
        self, number: int, version: int, state: dict[str, Any] | None, kind: str = "UserUpdated"
    ) -> None:
        user_id = id_of(number)
        partition = partition_of(user_shard(user_id), self.settings.partitions)
        self._seqs[partition] += 1
        shown = {"name": f"Jane {number}", "age": number % 100, **(state or {})}
        event = event_of(
            email_of(number),
            version,
            number=number,
            seq=self._seqs[partition],
            type=kind,
            gone=state is None,
            **shown,
        )
        self._producer.produce(self._topic, self._codec.encode(event), user_id, partition)
        if version > self._last.get(user_id, 0):  # an older version changes nothing
            self._last[user_id] = version
            self.versions.pop(user_id, None)
            if state is not None:
                self.versions[user_id] = version
