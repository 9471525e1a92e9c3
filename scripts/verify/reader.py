"""Reads whole topics, one partition at a time: the thin shell around the checks.

Committed records are read up to the *high* watermark taken before. While a transaction is open, the
last stable offset would miss records. A read_committed consumer reports that offset as its end
(seen with librdkafka 2.16), so a second consumer is asked for the ends.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition

from runtime.closing import Closing
from runtime.kafka.clients import (
    REQUEST_TIMEOUT_SECONDS,
    admin,
    end_reader,
    kafka_available,
    lone_consumer,
)
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.log_ranges import LogRange, read_topic
from schemas.coding.codec import RecordCodec
from schemas.errors import NotInTime, Poisoned
from schemas.formats import is_mark_key
from schemas.positions import POSITION_KEY, decode_position
from schemas.topics import COMMANDS, EMAILS, EVENTS, HISTORY, TOPICS, Topic
from schemas.trust import check_event, check_history_event, removed_event
from scripts.verify.facts import Entry

HANDLER_GROUP = "rollbook-handler"
_RETRY_SECONDS = 0.05
# The transaction of a dead handler ends after its timeout; the broker needs some more time.
_SPARE_SECONDS = 30.0


class LogReader(Closing):
    """Reads any topic of rollbook; a context manager. Raises `Unavailable` without Kafka."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        registry = Registry(settings)
        self._codecs: dict[str, RecordCodec[Any]] = {
            topic.name: registry.codec(topic.schema) for topic in TOPICS
        }
        self._consumer = end_reader(settings)
        self._asker = lone_consumer(settings, **{"isolation.level": "read_uncommitted"})
        self._admin = admin(settings)
        self._patience_seconds = settings.transaction_timeout_seconds + _SPARE_SECONDS

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        self._asker.close()

    def name_of(self, topic: Topic) -> str:
        """Return the name of a topic, with the prefix."""
        return self._settings.named(topic.name)

    def ends(self, topic: Topic, partition: int) -> LogRange:
        """Return the offsets that a partition has now, those of open transactions included."""
        tp = TopicPartition(self._settings.named(topic.name), partition)
        with kafka_available(self._settings):
            low, end = self._asker.get_watermark_offsets(tp, timeout=REQUEST_TIMEOUT_SECONDS)
        return LogRange(low, end)

    def committed(self, partition: int, topic: Topic = COMMANDS) -> int:
        """Return the handler's committed offset, -1 for none; waits for an open transaction."""
        tp = TopicPartition(self._settings.named(topic.name), partition)
        deadline = time.monotonic() + self._patience_seconds
        while True:
            found = self._committed(tp)
            if found.error is None:
                return max(-1, int(found.offset))
            # The broker refuses while a transaction is open, as a busy handler's nearly always is.
            is_open = found.error.code() == KafkaError.UNSTABLE_OFFSET_COMMIT
            if not is_open or time.monotonic() > deadline:
                with kafka_available(self._settings):
                    raise KafkaException(found.error)
            time.sleep(_RETRY_SECONDS)

    def _committed(self, tp: TopicPartition) -> TopicPartition:
        group = self._settings.named(HANDLER_GROUP)
        with kafka_available(self._settings):
            request = ConsumerGroupTopicPartitions(group, [tp])
            answer = self._admin.list_consumer_group_offsets(
                [request], require_stable=True, request_timeout=self._patience_seconds
            )[group].result()
        found: TopicPartition
        [found] = answer.topic_partitions
        return found

    def read(self, topic: Topic, partition: int, start: int | None = None) -> Iterator[Entry]:
        """Yield the committed records from `start` (default: the first) to the current end.

        Positions and marks of the format are left out: they say nothing about users.

        Raises `NotInTime` if a transaction stays open longer than its timeout.
        """
        there = self.ends(topic, partition)
        wanted = there if start is None else LogRange(max(there.low, start), there.end)
        last_message_at = time.monotonic()
        batches = read_topic(
            self._settings, self._consumer, topic, {partition: wanted}, silence_seconds=math.inf
        )
        for messages in batches:
            if messages:
                last_message_at = time.monotonic()
            elif time.monotonic() - last_message_at > self._patience_seconds:
                raise NotInTime(
                    f"a transaction on {self._settings.named(topic.name)} partition {partition} "
                    "does not end",
                    code="open_transaction",
                )
            for message in messages:
                if not is_position(topic, message.key(), message.value()):
                    entry = self._entry(topic, message)
                    if not self._is_mark(topic, entry):
                        yield entry

    def _is_mark(self, topic: Topic, entry: Entry) -> bool:
        """Return whether a record states the format of its partition (see `schemas.formats`)."""
        is_other_schema = topic is EVENTS and entry.problem == "wrong_schema"
        key = (entry.key or "").encode()
        return is_other_schema and is_mark_key(key, entry.partition, self._settings.partitions)

    def _entry(self, topic: Topic, message: Any) -> Entry:
        key, value = message.key(), message.value()
        name = None if key is None else bytes(key).decode("utf-8", "backslashreplace")
        entry = Entry(message.partition(), message.offset(), name, None)
        try:
            if value is not None:
                entry = entry._replace(record=self._codecs[topic.name].decode(value))
            require_trusted(topic, entry, key, self._settings.partitions)
        except Poisoned as poisoned:
            return entry._replace(record=None, problem=poisoned.code)
        return entry


def is_position(topic: Topic, key: bytes | None, value: bytes | None) -> bool:
    """Return whether a record is a position that a handler recorded; it has no other check."""
    if topic is not EMAILS or key != POSITION_KEY:
        return False
    try:
        decode_position(value)
    except Poisoned:
        return False
    return True


def require_trusted(topic: Topic, entry: Entry, key: bytes | None, partitions: int) -> None:
    """Raise `Poisoned` for a record that restores and projectors skip too."""
    partition, record = entry.partition, entry.record
    if topic is EVENTS and record is not None:
        check_event(record, key, partition, partitions)
    elif topic is HISTORY and record is not None:
        check_history_event(record, key, partition, partitions)
    elif topic is HISTORY:
        removed_event(key, partition, partitions)
