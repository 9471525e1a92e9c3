"""Reads the record that a dead letter points to, if it is still in the log."""

from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Any, Final, Literal, TypeAlias

from confluent_kafka import Message

from projectors.contract.source import LATEST_STATE, WHOLE_HISTORY
from projectors.log.records import read_record
from projectors.log.times import iso_time
from runtime.kafka.clients import end_reader
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.admin import wanted_partitions
from runtime.topics.log_ranges import LogRange, Place, log_ranges, read_ranges
from schemas.coding.codec import HEADER_BYTES, MAGIC
from schemas.errors import Poisoned
from schemas.letters import GONE, SUPERSEDED, Letter
from schemas.topics import TOPICS, Topic

# A record at most this far ahead is reached sooner by reading on than by a new request.
_READ_ON_RECORDS: Final = 500
_KEY_MAX_CHARACTERS: Final = 80
_SOURCES: Final = {source.topic.name: source for source in (LATEST_STATE, WHOLE_HISTORY)}

READABLE: Final = "readable"
UNREADABLE: Final = "unreadable"
UNKNOWN_TOPIC: Final = "unknown_topic"

Absent: TypeAlias = Literal["superseded", "gone"]


def topic_of(settings: Settings, letter: Letter) -> Topic | None:
    """Return the topic that a letter is about, None if it is not one of ours."""
    by_name = {settings.named(topic.name): topic for topic in TOPICS}
    return by_name.get(letter.topic)


class LogPlaces:
    """Reads single records of the log. Call `close` at the end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = end_reader(settings)
        self._ranges: dict[Place, LogRange] = {}
        self._next: tuple[Place, int] | None = None  # where the records below continue
        self._records: Iterator[Message] = iter(())

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def read_at(self, topic: Topic, partition: int, offset: int) -> Message | Absent:
        """Return the committed record at an offset, or why there is none.

        `superseded`: compaction removed it, because a later record has its key. `gone`: retention
        removed it, or the log was never that long. Fastest when called in the order of the log.
        Raises `Unavailable`.
        """
        if partition >= wanted_partitions(topic, self._settings):
            return GONE
        place = (self._settings.named(topic.name), partition)
        if place not in self._ranges:
            self._ranges[place] = log_ranges(self._settings, topic, [partition])[partition]
        there = self._ranges[place]
        if not there.low <= offset < there.end:
            return GONE
        message = self._first_from(place, LogRange(offset, there.end))
        if message is not None and message.offset() == offset:
            return message
        return SUPERSEDED if topic.config["cleanup.policy"] == "compact" else GONE

    def _first_from(self, place: Place, wanted: LogRange) -> Message | None:
        """Return the first committed record of a range, or None if there is none."""
        if not self._is_near(place, wanted.low):
            batches = read_ranges(self._settings, self._consumer, {place: wanted})
            self._records = chain.from_iterable(batches)
        self._next = None
        for message in self._records:
            reached = message.offset() or 0
            if reached >= wanted.low:
                self._next = place, reached + 1
                return message
        return None

    def _is_near(self, place: Place, offset: int) -> bool:
        """Return whether reading on reaches an offset sooner than a new request."""
        return (
            self._next is not None
            and self._next[0] == place
            and 0 <= offset - self._next[1] < _READ_ON_RECORDS
        )


def look_at(settings: Settings, letter: Letter, *, payload: bool) -> dict[str, Any]:
    """Return as fields what is at the place of `letter`; `payload` adds the decoded record.

    `in_log` is readable, unreadable (and `error` says why), superseded, gone or unknown_topic. A
    readable record may still be one that a read model refuses. Raises `Unavailable`.
    """
    fields: dict[str, Any] = {"letter": letter.place, "in_log": UNKNOWN_TOPIC}
    topic = topic_of(settings, letter)
    if topic is None:
        return fields
    with closing(LogPlaces(settings)) as places:
        found = places.read_at(topic, letter.partition, letter.offset)
    if not isinstance(found, Message):
        return fields | {"in_log": found}
    fields |= _framing(found)
    try:
        record = _decoded(settings, topic, found)
    except Poisoned as poison:
        return fields | {"in_log": UNREADABLE, "error": poison.code}
    return fields | {"in_log": READABLE} | ({"record": record} if payload else {})


def _framing(found: Message) -> dict[str, Any]:
    """Return what is known about a message without decoding it."""
    key, value = found.key(), found.value()
    framed = value is not None and len(value) >= HEADER_BYTES and value[:1] == MAGIC
    return {
        "key": None if key is None else key.decode(errors="backslashreplace")[:_KEY_MAX_CHARACTERS],
        "value_bytes": None if value is None else len(value),
        "schema_id": int.from_bytes(value[1:HEADER_BYTES]) if value and framed else None,
        "written_at": _time(found.timestamp()[1]),
    }


def _decoded(settings: Settings, topic: Topic, found: Message) -> Any:
    """Return the record, checked as its readers check it. Raises `Poisoned`."""
    decode = Registry(settings).codec(topic.schema).decode
    source = _SOURCES.get(topic.name)
    if source is None:
        return decode(found.value())
    record = read_record(found, source, decode, settings.partitions)
    if record.poison is not None:
        raise record.poison
    return record.event


def _time(unix_ms: int) -> str:
    """Return the time; a foreign record may have one outside of the calendar."""
    try:
        return iso_time(unix_ms)
    except (ValueError, OverflowError):
        return str(unix_ms)
