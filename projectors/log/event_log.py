"""Reads a topic as it stands: every record of the partitions asked for, readable or not."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Literal, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from runtime.kafka import assign, end_reader, kafka_available, kafka_unavailable, lone_consumer
from runtime.log_ranges import LogRange, Unread, is_end, log_ranges, offsets
from runtime.settings import Settings
from runtime.terminal import say
from schemas.codec import RecordCodec
from schemas.errors import Poisoned
from schemas.topics import Topic

Start = Literal["beginning", "end"] | datetime
_BATCH_RECORDS: Final = 1000
_WAIT_SECONDS: Final = 0.2  # also how long Ctrl-C may take

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class LogRecord(Generic[R]):
    """One record and where it stands; either its content or the code of why it cannot be read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    event: R | None
    error: str | None


def read_log(
    settings: Settings,
    codec: RecordCodec[R],
    topic: Topic,
    partitions: Collection[int],
    start: Start,
    *,
    follow: bool,
) -> Iterator[list[LogRecord[R]]]:
    """Yield the committed records of `topic` from `start` on, in batches, empty ones when idle.

    In order within a partition; between partitions as they arrive. Without `follow` it ends when
    every partition was read to its end as it was at the beginning. Raises `Unavailable` if Kafka or
    the registry is away at the start, and later too without `follow`; while following it says so
    once and waits.
    """
    ranges = log_ranges(settings, topic, partitions)
    at = start_offsets(settings, topic, ranges, start)
    unread = Unread({p: there.end for p, there in ranges.items() if at[p] < there.end})
    brokers = _Brokers(settings, follow=follow)
    open_consumer = lone_consumer if follow else end_reader
    consumer = open_consumer(settings, error_cb=brokers.on_error)
    try:
        name = settings.named(topic.name)
        with kafka_available(settings):
            assign(consumer, [TopicPartition(name, p, offset) for p, offset in at.items()])
        while unread or follow:
            with kafka_available(settings):
                messages = [
                    message
                    for message in consumer.consume(_BATCH_RECORDS, _WAIT_SECONDS)
                    if (not is_end(message) if follow else unread.takes(message))
                ]
            yield [_log_record(message, codec) for message in messages]
            brokers.check()
    finally:
        consumer.close()


def start_offsets(
    settings: Settings, topic: Topic, ranges: Mapping[int, LogRange], start: Start
) -> dict[int, int]:
    """Return the offset in each partition at which `start` is; `ranges` are what there is.

    A time is the first record at or after it, or the end. The end is where the next committed
    record will be: records of a transaction still open come after it.
    """
    if start == "beginning":
        return {partition: found.low for partition, found in ranges.items()}
    ends = {partition: found.end for partition, found in ranges.items()}
    return ends if start == "end" else ends | _offsets_at(settings, topic, ranges, start)


def _offsets_at(
    settings: Settings, topic: Topic, partitions: Collection[int], time: datetime
) -> dict[int, int]:
    """Return the first offset at or after `time` of each partition that has one."""
    spec = OffsetSpec.for_timestamp(int(time.timestamp() * 1000))
    [found] = offsets(settings, topic, partitions, [spec])
    return {partition: offset for partition, offset in found.items() if offset >= 0}


def _log_record(message: Message, codec: RecordCodec[R]) -> LogRecord[R]:
    event, problem = None, None
    try:
        event = codec.decode(message.value())
    except Poisoned as error:
        problem = error.code
    return LogRecord(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        event,
        problem,
    )


class _Brokers:
    """Notices that no broker answers: a consumer alone would wait in silence."""

    def __init__(self, settings: Settings, *, follow: bool) -> None:
        self._settings = settings
        self._follow = follow
        self._down: KafkaError | None = None
        self._said = False

    def on_error(self, error: KafkaError) -> None:
        """Remember that all brokers are down; librdkafka mends anything less by itself."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its public name
            self._down = error

    def check(self) -> None:
        """Raise `Unavailable`, or say it once when following."""
        if self._down is None:
            return
        error = kafka_unavailable(self._settings, KafkaException(self._down))
        self._down = None
        if not self._follow:
            raise error
        if not self._said:
            say(f"{error}; waiting for it to come back")
            self._said = True
