"""Reads every record of a topic, whether it can be decoded or not."""

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Literal, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime.command_line.terminal import say
from runtime.kafka.clients import (
    assign,
    end_reader,
    kafka_available,
    kafka_failure,
    lone_consumer,
    poll_batch,
)
from runtime.settings import Settings
from runtime.topics.log_ranges import LogRange, is_end, log_ranges, read_topic
from schemas.coding.codec import RecordCodec
from schemas.errors import Poisoned
from schemas.topics import Topic

Start = Literal["beginning", "end"] | datetime | Mapping[int, int]
_BATCH_RECORDS: Final = 1000
_WAIT_SECONDS: Final = 0.2  # also how long Ctrl-C may take

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class LogRecord(Generic[R]):
    """One record and its place; `error` is a code if it cannot be decoded, else None."""

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
) -> Generator[list[LogRecord[R]], None, None]:
    """Yield the committed records of `topic` from `start` on, in batches, empty ones when idle.

    `start` may be a time: the first record that is not older, or the end if there is none. It may
    also map partitions to offsets; a partition without one is read from its beginning. Records of
    one partition are in order; partitions are interleaved as they arrive. Without `follow` it
    ends when every partition was read to the end that it had at the beginning. Raises `Unavailable`
    if Kafka or the registry is unavailable at the start, and later too without `follow`; while
    following it reports that once and waits.
    """
    brokers = _Brokers(settings, follow=follow)
    open_consumer = lone_consumer if follow else end_reader
    with closing(open_consumer(settings, error_cb=brokers.on_error)) as consumer:
        ranges = _ranges_from(settings, topic, partitions, start)
        if follow:
            batches = _follow(settings, consumer, topic, ranges)
        else:
            batches = read_topic(settings, consumer, topic, ranges)
        for messages in batches:
            yield [_log_record(message, codec) for message in messages]
            brokers.check()


def start_offsets(
    settings: Settings, topic: Topic, partitions: Collection[int], start: Start
) -> dict[int, int]:
    """Return partition → the offset at which reading from `start` begins. Raises `Unavailable`."""
    ranges = _ranges_from(settings, topic, partitions, start)
    return {partition: found.low for partition, found in ranges.items()}


def _ranges_from(
    settings: Settings, topic: Topic, partitions: Collection[int], start: Start
) -> dict[int, LogRange]:
    since_ms = int(start.timestamp() * 1000) if isinstance(start, datetime) else None
    ranges = log_ranges(settings, topic, partitions, since_ms)
    if start == "end":
        return {partition: LogRange(found.end, found.end) for partition, found in ranges.items()}
    if isinstance(start, Mapping):
        return {
            p: LogRange(min(max(start.get(p, 0), r.low), r.end), r.end) for p, r in ranges.items()
        }
    return ranges


def _follow(
    settings: Settings, consumer: Consumer, topic: Topic, ranges: Mapping[int, LogRange]
) -> Iterator[list[Message]]:
    """Yield records from the start of each range on, for ever."""
    name = settings.named(topic.name)
    permission = f"Describe and Read on topic {name}"
    with kafka_available(settings, permission):
        assign(consumer, [TopicPartition(name, p, r.low) for p, r in ranges.items()])
    while True:
        with kafka_available(settings, permission):
            messages = poll_batch(consumer, _BATCH_RECORDS, _WAIT_SECONDS)
            records = [message for message in messages if not is_end(message)]
        yield records


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
    """Detects that no broker answers; a consumer alone would wait silently."""

    def __init__(self, settings: Settings, *, follow: bool) -> None:
        self._settings = settings
        self._follow = follow
        self._down: KafkaError | None = None
        self._reported = False

    def on_error(self, error: KafkaError) -> None:
        """Remember that all brokers are down; librdkafka recovers from anything less by itself."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its public name
            self._down = error

    def check(self) -> None:
        """Raise `Unavailable` if no broker answers; when following, report it once instead."""
        if self._down is None:
            return
        error = kafka_failure(self._settings, KafkaException(self._down))
        self._down = None
        if not self._follow:
            raise error
        if not self._reported:
            say(f"{error}; waiting until it is available")
            self._reported = True
