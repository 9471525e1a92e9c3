"""Where a topic ends now, and what comes after a position, asked again and again.

For metrics: it keeps what it knows, so that an idle log costs one request each time.
"""

from collections.abc import Collection, Mapping
from contextlib import closing
from itertools import chain

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from projectors.contract.source import Source
from projectors.log.end import LogEnd, last_seqs
from projectors.log.records import read_record
from runtime.kafka.clients import end_reader, kafka_available
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.log_ranges import EARLIEST, LATEST, LogRange, list_offsets, read_topic
from schemas.coding.codec import RecordCodec
from schemas.records import UserEvent

# One event is wanted, and without these the client would fetch tens of megabytes after it.
_LITTLE = {"queued.min.messages": 1, "fetch.message.max.bytes": 65_536}


class LogTails:
    """The ends of the partitions of a source. Not for several threads."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings = settings
        self._source = source
        self._topic = settings.named(source.topic.name)
        self._codec: RecordCodec[UserEvent] | None = None
        self._known: dict[int, LogEnd] = {}

    def ends(self, client: AdminClient, partitions: Collection[int]) -> dict[int, LogEnd]:
        """Return the end of each partition. Raises `Unavailable` and `Forbidden`."""
        places = [TopicPartition(self._topic, number) for number in sorted(partitions)]
        with kafka_available(self._settings, f"Describe on topic {self._topic}"):
            ends = list_offsets(client, dict.fromkeys(places, LATEST))
            moved = [at for at, end in ends.items() if self._end_of(at.partition) != end]
            lows = list_offsets(client, dict.fromkeys(moved, EARLIEST)) if moved else {}
        ranges = {at.partition: LogRange(low, ends[at]) for at, low in lows.items()}
        seqs = last_seqs(self._settings, self._source, self._decode, ranges)
        for number, one in ranges.items():
            self._known[number] = LogEnd(one.low, one.end, seqs.get(number, 0))
        return {number: self._known[number] for number in partitions}

    def oldest_ms(self, starts: Mapping[int, int]) -> int | None:
        """Return when the oldest of the first events from these offsets happened, in ms.

        The ends must have been asked for. None if there is no event. Raises `Unavailable`.
        """
        ranges = {p: LogRange(start, self._known[p].end) for p, start in starts.items()}
        found: dict[int, int] = {}
        with closing(end_reader(self._settings, **_LITTLE)) as consumer:
            batches = read_topic(self._settings, consumer, self._source.topic, ranges)
            for message in chain.from_iterable(batches):
                if message.partition() in found:
                    continue
                partitions = self._settings.partitions
                record = read_record(message, self._source, self._decode, partitions)
                if record.event is not None:
                    found[record.partition] = record.event["occurred_at"]
                if len(found) == len(ranges):
                    break
        return min(found.values(), default=None)

    def _end_of(self, partition: int) -> int | None:
        return self._known[partition].end if partition in self._known else None

    def _decode(self, value: bytes | None) -> UserEvent:
        self._codec = self._codec or Registry(self._settings).codec(self._source.topic.schema)
        return self._codec.decode(value)
