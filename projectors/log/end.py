"""Where a topic ends for a reader of committed records, and which event is its last.

Offsets do not tell how far a reader is behind: transaction markers and aborted records take offsets
too, so an idle topic always seems to have one more. The last event's seq does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import Message, TopicPartition

from projectors.contract.source import Source
from projectors.log.records import read_record
from runtime.kafka import assign, end_reader, kafka_available
from runtime.log_ranges import LogRange, Unread, log_ranges
from runtime.settings import Settings
from runtime.topic_admin import check_topics
from schemas.errors import Unavailable
from schemas.records import UserEvent

_FIRST_STEP_BACK = 16
_READ_SECONDS = 1.0
_SILENT_READS = 15


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of one partition; `last_seq` is the seq of its last readable event, 0 if none."""

    low: int
    end: int
    last_seq: int


def read_log_end(
    settings: Settings, source: Source, decode: Callable[[bytes | None], UserEvent]
) -> tuple[str, dict[int, LogEnd]]:
    """Return the id of the source's topic and the end of each of its partitions.

    Raises `Unavailable`, and `Misconfigured` if the topic is not as it should be.
    """
    topic_id = check_topics(settings)[source.topic.name]
    ranges = log_ranges(settings, source.topic, range(settings.partitions))
    with kafka_available(settings):
        seqs = _Tail(settings, source, decode).last_seqs(ranges)
    return topic_id, {p: LogEnd(r.low, r.end, seqs.get(p, 0)) for p, r in ranges.items()}


class _Tail:
    """Looks for the last readable event of each partition."""

    def __init__(
        self, settings: Settings, source: Source, decode: Callable[[bytes | None], UserEvent]
    ) -> None:
        self._settings = settings
        self._source = source
        self._topic = settings.named(source.topic.name)
        self._decode = decode

    def last_seqs(self, ranges: Mapping[int, LogRange]) -> dict[int, int]:
        """Step back from each end, further each time, until an event is found or the log begins."""
        found: dict[int, int] = {}
        missing = {p: r for p, r in ranges.items() if r.low < r.end}
        step = _FIRST_STEP_BACK
        while missing:
            starts = {p: max(r.low, r.end - step) for p, r in missing.items()}
            found |= self._read(starts, Unread({p: r.end for p, r in missing.items()}))
            missing = {p: r for p, r in missing.items() if p not in found and starts[p] > r.low}
            step *= 4
        return found

    def _read(self, starts: Mapping[int, int], unread: Unread) -> dict[int, int]:
        """Return the last readable seq of each partition from `starts` to its end."""
        last: dict[int, int] = {}
        silent = 0
        consumer = end_reader(self._settings)
        try:
            with kafka_available(self._settings):
                assign(consumer, [TopicPartition(self._topic, p, at) for p, at in starts.items()])
            while unread:
                messages = consumer.consume(1000, _READ_SECONDS / 20)
                silent = 0 if messages else silent + 1
                if silent > _SILENT_READS * 20:
                    servers = self._settings.kafka_bootstrap_servers
                    raise Unavailable(
                        f"Kafka at {servers} does not send the end of {self._topic}",
                        code="kafka_unavailable",
                    )
                for message in messages:
                    if unread.takes(message):
                        last |= self._seq(message)
        finally:
            consumer.close()
        return last

    def _seq(self, message: Message) -> dict[int, int]:
        # A poisoned event is passed by every read model: behind it nobody is behind.
        record = read_record(message, self._source, self._decode, self._settings.partitions)
        return {} if record.event is None else {record.partition: record.event["seq"]}
