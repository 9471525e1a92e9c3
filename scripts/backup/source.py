"""What a backup asks the log: its ends, its positions, and its records, decoded and checked."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from confluent_kafka import Message

from runtime.closing import Closing
from runtime.kafka.clients import end_reader
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.admin import check_topics
from runtime.topics.log_ranges import LogRange, log_ranges, read_topic
from schemas.errors import Misconfigured, Poisoned
from schemas.positions import POSITION_KEY, Position, decode_position
from schemas.records import USER_ERASED, UserEvent
from schemas.topics import COMMANDS, EMAILS, HISTORY, HOPS, OUTCOMES, Topic
from schemas.trust import check_history_event, removed_event
from scripts.backup.files import Copied, copied
from scripts.verify.reader import LogReader

# The transaction of a handler that died ends after its timeout; the broker needs some more time.
_SPARE_SECONDS = 30.0
# As a handler's restore: a lone command leaves two offsets, its outcome and a marker.
_OFFSETS_PER_OUTCOME = 2
_SPARE_OFFSETS = 1_000
_SPARE_MS = 60_000


class Source(Closing):
    """Reads committed records of one registry, up to high watermarks: see `scripts.verify.reader`.

    `skipped` counts records that no handler has written. Raises `Unavailable` without Kafka.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topic_id = check_topics(settings)[HISTORY.name]
        self.skipped = 0
        self._registry = Registry(settings)
        self._reader = LogReader(settings)
        self._consumer = end_reader(settings)

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()
        self._consumer.close()

    def end(self, topic: Topic, partition: int) -> int:
        """Return the end of a partition, the records of open transactions included."""
        return self._reader.ends(topic, partition).end

    def committed_ends(self, topic: Topic) -> dict[int, LogRange]:
        """Return the offsets of each partition before any open transaction."""
        return log_ranges(self.settings, topic, range(self.settings.partitions))

    def messages(self, topic: Topic, partition: int, start: int, end: int) -> Iterator[Message]:
        """Yield the committed records of a range; waits for transactions that are open in it."""
        low = self._reader.ends(topic, partition).low
        wanted = {partition: LogRange(max(low, start), end)}
        silence = self.settings.transaction_timeout_seconds + _SPARE_SECONDS
        return chain.from_iterable(
            read_topic(self.settings, self._consumer, topic, wanted, silence_seconds=silence)
        )

    def records(self, topic: Topic, partition: int, start: int, end: int) -> Iterator[Copied]:
        """Yield the records of a range, without those that cannot be decoded.

        Raises `Misconfigured` (`newer_log`) for one with fields that this release does not know.
        """
        codec = self._registry.codec(topic.schema)
        for message in self.messages(topic, partition, start, end):
            try:
                yield copied(message, codec.decode_whole(message.value()))
            except Poisoned as poisoned:
                self._skip(topic, message, poisoned)

    def events(self, partition: int, start: int, end: int, erased: set[str]) -> Iterator[Copied]:
        """Yield the events of a range of `user-history`; add users to `erased` as they turn up.

        Raises `Misconfigured` if an event cannot be read: without it the backup would be worthless.
        """
        codec = self._registry.codec(HISTORY.schema)
        partitions = self.settings.partitions
        for message in self.messages(HISTORY, partition, start, end):
            key, value = message.key(), message.value()
            if value is None:
                continue
            try:
                event: UserEvent = codec.decode_whole(value)
                check_history_event(event, key, partition, partitions)
            except Poisoned as poisoned:
                self._skip(HISTORY, message, poisoned)
                continue
            if event["type"] == USER_ERASED:
                erased.add(event["user_id"])
            yield copied(message, event)

    def _skip(self, topic: Topic, message: Message, poisoned: Poisoned) -> None:
        """Pass over bytes that no handler or client of ours wrote; refuse to lose anything else."""
        place = f"{message.topic()} partition {message.partition()} offset {message.offset()}"
        if poisoned.code == "newer_schema":
            raise Misconfigured(
                f"cannot back up {place}: {poisoned}",
                code="newer_log",
                next_step="run the release that wrote it, or a later one (docs/upgrading.md)",
            )
        if topic is HISTORY and self._names_an_event(message):
            raise Misconfigured(
                f"cannot back up {place}: {poisoned}",
                code="unreadable_log",
                next_step="restore the registry's storage, or the record: docs/upgrading.md",
            )
        self.skipped += 1

    def _names_an_event(self, message: Message) -> bool:
        try:
            removed_event(message.key(), message.partition() or 0, self.settings.partitions)
        except Poisoned:
            return False
        return True

    def positions(self, partition: int) -> tuple[int, int]:
        """Return the first command and the first address message that may be undecided.

        The higher of the group's offset and the recorded position, as a handler's restore does.
        """
        recorded = Position(0, 0, 0)
        for message in self.messages(EMAILS, partition, 0, self.end(EMAILS, partition)):
            if message.key() == POSITION_KEY:
                try:
                    recorded = decode_position(message.value())
                except Poisoned:
                    self.skipped += 1
        commands = self._reader.committed(partition, COMMANDS)
        messages = self._reader.committed(partition, HOPS)
        return max(commands, recorded.commands), max(messages, recorded.address_messages)

    def window_start(self, partition: int, end: int, last_ms: int) -> int:
        """Return an offset of `user-outcomes` at or before the first that handlers remember."""
        by_count = end - _OFFSETS_PER_OUTCOME * self.settings.outcomes_window_count - _SPARE_OFFSETS
        since = last_ms - int(self.settings.outcomes_window_seconds * 1000) - _SPARE_MS
        by_time = log_ranges(self.settings, OUTCOMES, [partition], max(since, 0))[partition].low
        return max(0, min(by_count, by_time))

    def address_messages(self, partition: int, start: int) -> Iterator[Any]:
        """Yield the address messages from `start` to the present end."""
        end = self.end(HOPS, partition)
        return (one["record"] for one in self.records(HOPS, partition, start, end))


def without_erased(records: Iterator[Copied], erased: set[str]) -> Iterator[Copied]:
    """Yield the events without those of erased users, of whom only the marker is left."""
    for one in records:
        event = one["record"]
        if event["type"] == USER_ERASED or event["user_id"] not in erased:
            yield one
