"""What stands in the log now where a dead letter points."""

import time
from contextlib import closing
from typing import Any, Final, Literal, TypeAlias

from confluent_kafka import Message, TopicPartition

from projectors.contract.source import LATEST_STATE, WHOLE_HISTORY
from projectors.log.records import read_record
from projectors.log.times import iso_time
from runtime.kafka import REQUEST_TIMEOUT_SECONDS, assign, end_reader, kafka_available
from runtime.log_ranges import LogRange, is_end, log_ranges
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.topic_admin import wanted_partitions
from schemas.codec import HEADER_BYTES, MAGIC
from schemas.errors import Poisoned, Unavailable
from schemas.letters import GONE, SUPERSEDED, Letter
from schemas.topics import TOPICS, Topic

_WAIT_SECONDS: Final = 0.2
# A record this far ahead comes sooner by reading on than by asking for it.
_READ_ON: Final = 500
_KEY_MAX_CHARACTERS: Final = 80
_SOURCES: Final = {source.topic.name: source for source in (LATEST_STATE, WHOLE_HISTORY)}

READABLE: Final = "readable"
UNREADABLE: Final = "unreadable"
UNKNOWN_TOPIC: Final = "unknown_topic"

Absent: TypeAlias = Literal["superseded", "gone"]


def topic_of(settings: Settings, letter: Letter) -> Topic | None:
    """Return the topic that a letter is about, None if it is none of ours."""
    by_name = {settings.named(topic.name): topic for topic in TOPICS}
    return by_name.get(letter.topic)


class LogPlaces:
    """Looks at single records of the log. Close it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = end_reader(settings)
        self._ranges: dict[tuple[str, int], LogRange] = {}
        self._at: tuple[str, int, int] | None = None  # what the consumer gives next

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def look(self, topic: Topic, partition: int, offset: int) -> Message | Absent:
        """Return the committed record that stands there, or why there is none.

        `superseded`: compaction took it, because a later record has its key. `gone`: retention did,
        or the log was never so long. Cheapest in the order of the log. Raises `Unavailable`.
        """
        if partition >= wanted_partitions(topic, self._settings):
            return GONE
        there = self._range(topic, partition)
        if not there.low <= offset < there.end:
            return GONE
        message = self._first_from(self._settings.named(topic.name), partition, offset)
        if message is not None and message.offset() == offset:
            return message
        return SUPERSEDED if topic.config["cleanup.policy"] == "compact" else GONE

    def _range(self, topic: Topic, partition: int) -> LogRange:
        place = (topic.name, partition)
        if place not in self._ranges:
            self._ranges |= {
                (topic.name, p): found
                for p, found in log_ranges(self._settings, topic, [partition]).items()
            }
        return self._ranges[place]

    def _first_from(self, topic: str, partition: int, offset: int) -> Message | None:
        """Return the first committed record from `offset` on; None at the end of the log."""
        here = self._at
        if here is None or here[:2] != (topic, partition) or not 0 <= offset - here[2] < _READ_ON:
            with kafka_available(self._settings):
                assign(self._consumer, [TopicPartition(topic, partition, offset)])
        self._at = None
        deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            with kafka_available(self._settings):
                message = self._consumer.poll(_WAIT_SECONDS)
                if message is None:
                    continue
                if is_end(message):
                    return None
            reached = message.offset() or 0
            is_asked = (message.topic(), message.partition()) == (topic, partition)
            if is_asked and reached >= offset:
                self._at = (topic, partition, reached + 1)
                return message
        raise Unavailable(
            f"Kafka at {self._settings.kafka_bootstrap_servers} does not send {topic} partition "
            f"{partition} offset {offset}",
            code="kafka_unavailable",
            next_step="is it running? `rollbook status`, or `rollbook up` for a local one",
        )


def look_at(settings: Settings, letter: Letter, *, payload: bool) -> dict[str, Any]:
    """Return as fields what stands where `letter` points; `payload` adds the record, decoded.

    `in_log` is readable, unreadable (and `error` says why), superseded, gone or unknown_topic. A
    record may be readable that a read model refuses. Raises `Unavailable`.
    """
    fields: dict[str, Any] = {"letter": letter.place, "in_log": UNKNOWN_TOPIC}
    topic = topic_of(settings, letter)
    if topic is None:
        return fields
    with closing(LogPlaces(settings)) as places:
        found = places.look(topic, letter.partition, letter.offset)
    if not isinstance(found, Message):
        return fields | {"in_log": found}
    fields |= _framing(found)
    try:
        record = _decoded(settings, topic, found)
    except Poisoned as poison:
        return fields | {"in_log": UNREADABLE, "error": poison.code}
    return fields | {"in_log": READABLE} | ({"record": record} if payload else {})


def _framing(found: Message) -> dict[str, Any]:
    """Return what can be told of a message without decoding it."""
    key, value = found.key(), found.value()
    framed = value is not None and len(value) >= HEADER_BYTES and value[:1] == MAGIC
    return {
        "key": None if key is None else key.decode(errors="backslashreplace")[:_KEY_MAX_CHARACTERS],
        "value_bytes": None if value is None else len(value),
        "schema_id": int.from_bytes(value[1:HEADER_BYTES]) if value and framed else None,
        "written_at": _time(found.timestamp()[1]),
    }


def _decoded(settings: Settings, topic: Topic, found: Message) -> Any:
    """Return the record, checked as its readers do. Raises `Poisoned`."""
    decode = Registry(settings).codec(topic.schema).decode
    source = _SOURCES.get(topic.name)
    if source is None:
        return decode(found.value())
    record = read_record(found, source, decode, settings.partitions)
    if record.poison is not None:
        raise record.poison
    return record.event


def _time(unix_ms: int) -> str:
    """Return when; a stranger's record may have a time that no calendar has."""
    try:
        return iso_time(unix_ms)
    except (ValueError, OverflowError):
        return str(unix_ms)
