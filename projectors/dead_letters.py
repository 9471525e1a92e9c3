"""Writes dead letters: the places of records that could not be read or applied, never a payload."""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from projectors.intake import Record
from runtime.kafka import kafka_available, kafka_unavailable, producer_config
from runtime.settings import Settings
from schemas.codec import RecordCodec
from schemas.records import DeadLetter
from schemas.topics import DEAD_LETTERS

_DELIVERY_SECONDS = 10.0


class DeadLetterWriter:
    """Writes letters of one reader about one topic; the producer is made with the first of them."""

    def __init__(
        self, settings: Settings, codec: RecordCodec[DeadLetter], *, reader: str, topic: str
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._reader = reader
        self._topic = topic
        self._producer: Producer | None = None

    def write(self, records: Sequence[Record]) -> None:
        """Write a letter for each poisoned record; return when the brokers have all of them.

        Raises `Unavailable` if they cannot; some letters may then be written again.
        """
        failures: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        with kafka_available(self._settings):
            producer = self._open()
            for record in records:
                letter = self._letter(record)
                producer.produce(
                    self._settings.named(DEAD_LETTERS.name),
                    key=f"{letter['topic']}:{letter['partition']}:{letter['offset']}",
                    value=self._codec.encode(letter),
                    partition=0,
                    on_delivery=on_delivery,
                )
            # Each letter is delivered or has failed by then: `message.timeout.ms` is shorter.
            producer.flush(2 * _DELIVERY_SECONDS)
        if failures:
            raise kafka_unavailable(self._settings, KafkaException(failures[0]))

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                producer_config(self._settings)
                | {"message.timeout.ms": int(_DELIVERY_SECONDS * 1000)}
            )
        return self._producer

    def _letter(self, record: Record) -> DeadLetter:
        return {
            "topic": self._topic,
            "partition": record.partition,
            "offset": record.offset,
            "reader": self._reader,
            "error": record.poison.code if record.poison else "",
            "message": str(record.poison or ""),
            "occurred_at": time.time_ns() // 1_000_000,
        }
