"""Reads a range of a topic that is fixed when reading begins, so reading ends under any load.

librdkafka reports the end of a partition when a fetch returns nothing. Under a steady load every
fetch returns what was just written, so a reader that waits for that report never finishes.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from runtime.kafka.clients import (
    REQUEST_TIMEOUT_SECONDS,
    admin,
    assign,
    kafka_available,
    poll_batch,
)
from runtime.settings import Settings
from schemas.errors import CHECK_SERVER, Unavailable
from schemas.topics import Topic

# A restarting broker is back sooner.
SILENCE_SECONDS = 30.0
_BATCH_RECORDS = 10_000
_WAIT_SECONDS = 0.2  # also how long Ctrl-C may take
# A partition that was just created, or is changing its leader, has none for a moment, or one that
# does not know it yet.
_NO_LEADER = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._NOENT,  # noqa: SLF001 - librdkafka's own: it knows no leader of any partition
}
# Of several brokers, some learn later than others of a topic that was just created.
CREATED = {*_NO_LEADER, KafkaError.UNKNOWN_TOPIC_OR_PART}
_LEADER_SECONDS = 10.0
_RETRY_SECONDS = 0.05
EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

# A topic's name on the brokers, and a partition number.
Place: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class LogRange:
    """The offsets of one partition with `low` ≤ offset < `end`; empty if they are equal."""

    low: int
    end: int


def log_ranges(
    settings: Settings, topic: Topic, partitions: Collection[int], since_ms: int | None = None
) -> dict[int, LogRange]:
    """Return the offsets that a reader of committed records can ask each partition for.

    With `since_ms`, in milliseconds since the epoch, each range begins at the first record that is
    not older; it is empty if there is none. Records of open transactions come after the end.
    Raises `Unavailable`.
    """
    first = EARLIEST if since_ms is None else OffsetSpec.for_timestamp(since_ms)
    lows, ends = _offsets(settings, topic, partitions, (first, LATEST))
    return {p: LogRange(lows[p] if lows[p] >= 0 else end, end) for p, end in ends.items()}


def read_topic(
    settings: Settings,
    consumer: Consumer,
    topic: Topic,
    ranges: Mapping[int, LogRange],
    *,
    silence_seconds: float = SILENCE_SECONDS,
) -> Iterator[list[Message]]:
    """Yield the records in `ranges` of one topic; see `read_ranges`."""
    name = settings.named(topic.name)
    places = {(name, partition): wanted for partition, wanted in ranges.items()}
    return read_ranges(settings, consumer, places, silence_seconds=silence_seconds)


def read_ranges(
    settings: Settings,
    consumer: Consumer,
    ranges: Mapping[Place, LogRange],
    *,
    silence_seconds: float = SILENCE_SECONDS,
) -> Iterator[list[Message]]:
    """Yield the records in `ranges` in batches; end when every range was read to its end.

    In order within a partition; between partitions as they arrive. A batch is empty if nothing
    arrived for 0.2 s. `consumer` must report the ends of partitions (see `end_reader`); it is
    assigned to these ranges and nothing else. Its isolation level decides whether records of
    aborted transactions are yielded. Raises `Unavailable` if Kafka fails, or sends nothing for
    `silence_seconds`.
    """
    topics = ", ".join(sorted({topic for topic, _partition in ranges}))
    permission = f"Describe and Read on topic {topics}"
    unread = _Unread({place: r.end for place, r in ranges.items() if r.low < r.end})
    if unread:
        starts = [TopicPartition(*place, ranges[place].low) for place in unread.ends]
        with kafka_available(settings, permission):
            assign(consumer, starts)
    silent_seconds = 0.0
    while unread:
        with kafka_available(settings, permission):
            messages = poll_batch(consumer, _BATCH_RECORDS, _WAIT_SECONDS)
            records = [message for message in messages if unread.takes(message)]
        silent_seconds = 0.0 if messages else silent_seconds + _WAIT_SECONDS
        if silent_seconds > silence_seconds:
            topic, partition = min(unread.ends)
            raise Unavailable(
                f"Kafka at {settings.kafka_bootstrap_servers} does not send {topic} partition "
                f"{partition} up to offset {unread.ends[topic, partition]}",
                code="kafka_unavailable",
                next_step=CHECK_SERVER,
            )
        yield records


class _Unread:
    """The partitions that a reader has not yet read to their `ends`; falsy when none is left.

    The offset before an end may belong to no record that a reader receives: transaction markers and
    aborted or compacted records take offsets too. So a partition counts as read when its end is
    reported there or beyond, or when a record arrives that is the last before it or beyond it.
    """

    def __init__(self, ends: Mapping[Place, int]) -> None:
        self.ends = dict(ends)

    def __bool__(self) -> bool:
        return bool(self.ends)

    def takes(self, message: Message) -> bool:
        """Note a message that arrived; return whether it is a record before its partition's end.

        Raises KafkaException if the message is an error.
        """
        place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
        end = self.ends.get(place, 0)
        reports_end = is_end(message)
        if place in self.ends and offset + (not reports_end) >= end:
            del self.ends[place]
        return not reports_end and offset < end


def is_end(message: Message) -> bool:
    """Return whether a message reports a partition's end. Raises KafkaException on an error."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
        return True
    raise KafkaException(error)


def _offsets(
    settings: Settings, topic: Topic, partitions: Collection[int], specs: Sequence[OffsetSpec]
) -> list[dict[int, int]]:
    """Return, for each of `specs`, the offset of each partition; -1 if there is none."""
    name = settings.named(topic.name)
    places = [TopicPartition(name, partition) for partition in partitions]
    if not places:
        return [{} for _ in specs]
    with kafka_available(settings, f"Describe on topic {name}"):
        client = admin(settings)  # kept in a variable: its futures never resolve once it is gone
        # A new client replaces its first connection by one to the broker's advertised name. An
        # offset request lost in between (one in a hundred, more on a busy machine) is repeated
        # after 3 s; a metadata request is repeated at once.
        for described in client.describe_topics(
            TopicCollection([name]), request_timeout=REQUEST_TIMEOUT_SECONDS
        ).values():
            described.result()
        found = [list_offsets(client, dict.fromkeys(places, spec)) for spec in specs]
    return [{place.partition: offset for place, offset in one.items()} for one in found]


def list_offsets(
    client: AdminClient,
    wanted: Mapping[TopicPartition, OffsetSpec],
    *,
    passing: Collection[int] = _NO_LEADER,
) -> dict[TopicPartition, int]:
    """Return the offset that each partition is asked for; -1 if it has none.

    Only committed records count. Blocks for up to 10 s while a partition has no leader, or another
    of the errors in `passing`. Raises KafkaException.
    """
    deadline = time.monotonic() + _LEADER_SECONDS
    while True:
        futures = client.list_offsets(
            dict(wanted),
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=REQUEST_TIMEOUT_SECONDS,
        )
        try:
            return {place: future.result().offset for place, future in futures.items()}
        except KafkaException as error:
            if error.args[0].code() not in passing or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_SECONDS)
        # librdkafka asks the leaders that it remembers. Only this makes it forget a missing one.
        client.list_topics(timeout=REQUEST_TIMEOUT_SECONDS)
