"""What a topic holds at a moment, and reading it up to there though others go on writing.

A reader that waits for librdkafka to tell of a partition's end never gets there under a steady
load: it is told where a fetch brings nothing, and every fetch brings what was just written.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin._listoffsets import OffsetSpec

from runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin, kafka_available
from runtime.settings import Settings
from schemas.topics import Topic

_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class LogRange:
    """What a reader of committed records can ask one partition for: low ≤ offset < end."""

    low: int
    end: int


def log_ranges(
    settings: Settings, topic: Topic, partitions: Collection[int]
) -> dict[int, LogRange]:
    """Return the offsets that there are of each partition. Raises `Unavailable`."""
    lows, ends = offsets(settings, topic, partitions, (_EARLIEST, _LATEST))
    return {partition: LogRange(lows[partition], ends[partition]) for partition in partitions}


def offsets(
    settings: Settings, topic: Topic, partitions: Collection[int], specs: Sequence[OffsetSpec]
) -> list[dict[int, int]]:
    """Return the offset of each partition that each of `specs` means. Raises `Unavailable`."""
    name = settings.named(topic.name)
    places = [TopicPartition(name, partition) for partition in partitions]
    if not places:
        return [{} for _ in specs]
    with kafka_available(settings):
        client = admin(settings)  # held by name: futures of a client that is gone never resolve
        # A client that is new drops its first connection for one to the broker by name. A question
        # for offsets that is lost on the way (one in a hundred, on a busy machine more) is asked
        # again after 3 s; this one at once.
        for described in client.describe_topics(
            TopicCollection([name]), request_timeout=REQUEST_TIMEOUT_SECONDS
        ).values():
            described.result()
        asked = [
            client.list_offsets(
                dict.fromkeys(places, spec),
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=REQUEST_TIMEOUT_SECONDS,
            )
            for spec in specs
        ]
        return [
            {place.partition: future.result().offset for place, future in futures.items()}
            for futures in asked
        ]


class Unread:
    """Which partitions a reader of one topic has still to read; falsy once there is none.

    `ends` are the offsets to come to, which may stand behind records that no reader is given:
    markers of transactions, what was aborted or compacted away. So a partition is read when its
    end is told of (the reader needs `enable.partition.eof`), or by any record from there or beyond.
    """

    def __init__(self, ends: Mapping[int, int]) -> None:
        self._ends = dict(ends)

    def __bool__(self) -> bool:
        return bool(self._ends)

    def takes(self, message: Message) -> bool:
        """Note what has arrived; say whether it is a record, and one to be read.

        Raises KafkaException if it is an error.
        """
        partition, offset = message.partition() or 0, message.offset() or 0
        if is_end(message):
            self._ends.pop(partition, None)
            return False
        end = self._ends.get(partition, 0)
        if offset + 1 >= end:
            self._ends.pop(partition, None)
        return offset < end


def is_end(message: Message) -> bool:
    """Say whether it tells of a partition's end. Raises KafkaException if it is an error."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
        return True
    raise KafkaException(error)
