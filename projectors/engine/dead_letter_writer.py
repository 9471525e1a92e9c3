"""Appends dead letters: where a record is and what happened to it, never its payload."""

import time
from collections.abc import Sequence
from typing import TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from projectors.log.records import Record
from runtime.kafka import client_classes
from runtime.kafka.clients import kafka_available, kafka_failure, producer_config
from runtime.settings import Settings
from schemas.coding.codec import RecordCodec
from schemas.errors import Poisoned
from schemas.letters import letter_key, letter_of
from schemas.records import DeadLetter
from schemas.topics import DEAD_LETTERS

_DELIVERY_SECONDS = 10.0

# A key and a value to append.
Keyed: TypeAlias = tuple[str | bytes | None, bytes]


class SafeProducer:
    """Appends records and waits until they are stored; connects on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: Producer | None = None

    def append(self, topic: str, partition: int, records: Sequence[Keyed]) -> None:
        """Append each (key, value); return once all are stored.

        Raises `Unavailable` if they were not all stored; a repeated call may store some twice.
        """
        failures: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        with kafka_available(self._settings):
            producer = self._open()
            for key, value in records:
                producer.produce(
                    topic, key=key, value=value, partition=partition, on_delivery=on_delivery
                )
            # `message.timeout.ms` is shorter, so usually every record is delivered or has failed.
            undelivered = producer.flush(2 * _DELIVERY_SECONDS)
        if undelivered and not failures:
            self._producer = None  # its queue still holds the records
            failures.append(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001
        if failures:
            permission = f"Write on topic {topic}"
            raise kafka_failure(self._settings, KafkaException(failures[0]), permission)

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = client_classes.Producer(
                producer_config(self._settings)
                | {"message.timeout.ms": int(_DELIVERY_SECONDS * 1000)}
            )
        return self._producer


class LetterLog:
    """Appends to the topic of dead letters."""

    def __init__(
        self, settings: Settings, codec: RecordCodec[DeadLetter], producer: SafeProducer
    ) -> None:
        self._topic = settings.named(DEAD_LETTERS.name)
        self._codec = codec
        self._producer = producer

    def append(self, letters: Sequence[DeadLetter]) -> None:
        """Append letters and settlements; return once all are stored. Raises `Unavailable`."""
        records: list[Keyed] = [
            (letter_key(letter), self._codec.encode(letter)) for letter in letters
        ]
        self._producer.append(self._topic, 0, records)


class DeadLetterWriter:
    """Writes the letters of one reader about one topic."""

    def __init__(
        self, settings: Settings, codec: RecordCodec[DeadLetter], *, reader: str, topic: str
    ) -> None:
        self._log = LetterLog(settings, codec, SafeProducer(settings))
        self._reader = reader
        self._topic = topic

    def write(self, records: Sequence[Record]) -> None:
        """Write a letter for each poisoned record; return once all are stored.

        Raises `Unavailable` if they were not all stored; a repeated call may write some twice.
        """
        self._log.append([self._letter(record) for record in records])

    def _letter(self, record: Record) -> DeadLetter:
        return letter_of(
            self._topic,
            record.partition,
            record.offset,
            reader=self._reader,
            poison=record.poison or Poisoned("it cannot be applied"),
            now=time.time_ns() // 1_000_000,
        )
