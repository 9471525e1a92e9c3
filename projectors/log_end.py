"""Where a topic ends for a reader of committed records, and which event is its last.

Offsets do not tell how far a reader is behind: transaction markers and aborted records take offsets
too, so an idle topic always seems to have one more. The last event's seq does.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from projectors.intake import read_record
from runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin, kafka_available, lone_consumer
from runtime.settings import Settings
from runtime.topic_admin import check_topics
from schemas.errors import Unavailable
from schemas.records import UserEvent
from schemas.topics import EVENTS, Topic

_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_FIRST_STEP_BACK = 16
_READ_SECONDS = 1.0
_SILENT_READS = 15


@dataclass(frozen=True, slots=True)
class LogRange:
    """What a reader of committed records can ask one partition for: low ≤ offset < end."""

    low: int
    end: int


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of one partition; `last_seq` is the seq of its last readable event, 0 if none."""

    low: int
    end: int
    last_seq: int


def log_ranges(
    settings: Settings, topic: Topic, partitions: Collection[int]
) -> dict[int, LogRange]:
    """Return the offsets that there are of each partition. Raises `Unavailable`."""
    places = [TopicPartition(settings.named(topic.name), p) for p in partitions]
    if not places:
        return {}
    with kafka_available(settings):
        client = admin(settings)
        lows, ends = (
            client.list_offsets(
                dict.fromkeys(places, spec),
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=REQUEST_TIMEOUT_SECONDS,
            )
            for spec in (_EARLIEST, _LATEST)
        )
        return {
            place.partition: LogRange(lows[place].result().offset, ends[place].result().offset)
            for place in places
        }


def read_log_end(
    settings: Settings, decode: Callable[[bytes | None], UserEvent]
) -> tuple[str, dict[int, LogEnd]]:
    """Return the id of the events topic and the end of each of its partitions.

    Raises `Unavailable`, and `Misconfigured` if the topic is not as it should be.
    """
    topic_id = check_topics(settings)[EVENTS.name]
    ranges = log_ranges(settings, EVENTS, range(settings.partitions))
    with kafka_available(settings):
        seqs = _last_seqs(settings, ranges, decode)
    return topic_id, {p: LogEnd(r.low, r.end, seqs.get(p, 0)) for p, r in ranges.items()}


def _last_seqs(
    settings: Settings,
    ranges: Mapping[int, LogRange],
    decode: Callable[[bytes | None], UserEvent],
) -> dict[int, int]:
    """Step back from each end, further each time, until an event is found or the log begins."""
    found: dict[int, int] = {}
    missing = {p: r for p, r in ranges.items() if r.low < r.end}
    step = _FIRST_STEP_BACK
    while missing:
        starts = {p: max(r.low, r.end - step) for p, r in missing.items()}
        found |= _read_tail(settings, starts, decode)
        missing = {p: r for p, r in missing.items() if p not in found and starts[p] > r.low}
        step *= 4
    return found


def _read_tail(
    settings: Settings, starts: Mapping[int, int], decode: Callable[[bytes | None], UserEvent]
) -> dict[int, int]:
    """Return the last readable seq of each partition from `starts` to its end."""
    topic = settings.named(EVENTS.name)
    last: dict[int, int] = {}
    unread = set(starts)
    silent = 0
    consumer = lone_consumer(settings, **{"enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic, p, offset) for p, offset in starts.items()])
        while unread:
            messages = consumer.consume(1000, _READ_SECONDS / 20)
            silent = 0 if messages else silent + 1
            if silent > _SILENT_READS * 20:
                raise Unavailable(
                    f"Kafka at {settings.kafka_bootstrap_servers} does not send the end of {topic}",
                    code="kafka_unavailable",
                )
            for message in messages:
                _read_one(message, last, unread, decode, settings.partitions)
    finally:
        consumer.close()
    return last


def _read_one(
    message: Message,
    last: dict[int, int],
    unread: set[int],
    decode: Callable[[bytes | None], UserEvent],
    partitions: int,
) -> None:
    partition, error = message.partition(), message.error()
    if partition is None:
        return
    if error is None:
        # A poisoned event is passed by every read model: behind it nobody is behind.
        record = read_record(message, decode, partitions)
        if record.event is not None:
            last[partition] = record.event["seq"]
    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public name
        unread.discard(partition)
    elif not error.retriable():
        raise KafkaException(error)
