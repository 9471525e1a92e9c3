"""The open dead letters of one reader as metrics. Their topic is short, and read once."""

from typing import Final

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from runtime.kafka.clients import end_reader, kafka_available
from runtime.kafka.registry import Registry
from runtime.metrics.recording import VALUES
from runtime.settings import Settings
from runtime.topics.log_ranges import LATEST, LogRange, list_offsets, log_ranges, read_topic
from schemas.coding.codec import RecordCodec
from schemas.errors import Poisoned
from schemas.letters import Letters, is_letter
from schemas.records import DeadLetter
from schemas.topics import DEAD_LETTERS

_OPEN: Final = "dead_letters_open"
_OLDEST: Final = "dead_letters_oldest_timestamp_seconds"


class OpenLetters:
    """A measurement (see `runtime.metrics.follower`) of the letters of `reader`."""

    def __init__(self, settings: Settings, reader: str) -> None:
        self._settings = settings
        self._reader = reader
        self._place = TopicPartition(settings.named(DEAD_LETTERS.name), 0)
        self._codec: RecordCodec[DeadLetter] | None = None
        self._letters = Letters()
        self._end = 0

    def measure(self, client: AdminClient) -> None:
        """Fold what is new on the topic. Raises `Unavailable` and `Forbidden`."""
        with kafka_available(self._settings, f"Describe on topic {self._place.topic}"):
            end = list_offsets(client, {self._place: LATEST})[self._place]
        if end != self._end:
            self._read(end)
        times = [one.occurred_at for one in self._letters if one.is_open]
        VALUES.set(_OPEN, len(times), self._reader)
        VALUES.replace(_OLDEST, {(self._reader,): min(times) / 1000} if times else {})

    def forget(self) -> None:
        """Keep what is known: nobody else changes it."""

    def _read(self, end: int) -> None:
        self._codec = self._codec or Registry(self._settings).codec(DEAD_LETTERS.schema)
        if end < self._end:  # the topic was created again
            self._letters, self._end = Letters(), 0
        low = log_ranges(self._settings, DEAD_LETTERS, [0])[0].low
        unread = {0: LogRange(max(low, self._end), end)}
        reader = end_reader(self._settings)
        try:
            for messages in read_topic(self._settings, reader, DEAD_LETTERS, unread):
                for message in messages:
                    self._fold(self._codec, message.key(), message.value())
        finally:
            reader.close()
        self._end = end

    def _fold(self, codec: RecordCodec[DeadLetter], key: bytes | None, value: bytes | None) -> None:
        try:
            letter = codec.decode(value)
        except Poisoned:
            return
        if letter["reader"] == self._reader and is_letter(letter, key):
            self._letters.add(letter)
