"""What a read model should store: the log, folded from its beginning up to a checkpoint."""

from collections.abc import Callable, Iterator
from contextlib import closing

from projectors.contract.read_model import Row
from projectors.contract.source import Source
from projectors.log.records import Record, read_record
from runtime.kafka.clients import end_reader
from runtime.settings import Settings
from runtime.topics.log_ranges import LogRange, log_ranges, read_topic
from schemas.records import USER_ERASED, UserEvent


def read_partition(
    settings: Settings,
    source: Source,
    decode: Callable[[bytes | None], UserEvent],
    partition: int,
) -> Iterator[list[Record]]:
    """Yield the committed records of a partition in order.

    It is read to the end that it had at first, then to its new end: if compaction removed a user's
    record in the meantime, the user's later record is yielded. Raises `Unavailable`, also if Kafka
    sends nothing for 30 s.
    """
    topic = source.topic
    with closing(end_reader(settings)) as consumer:
        start = 0
        for _ in range(2):
            there = log_ranges(settings, topic, [partition])[partition]
            wanted = LogRange(max(start, there.low), there.end)
            for messages in read_topic(settings, consumer, topic, {partition: wanted}):
                yield [read_record(m, source, decode, settings.partitions) for m in messages]
            start = wanted.end


class LogFold:
    """The rows of one partition, computed by `row_of` from the events that count."""

    def __init__(self, source: Source, row_of: Callable[[UserEvent], Row]) -> None:
        self._left_out: set[str] = set()
        self._every_event = source.every_event
        self._row_of = row_of
        # By user id; only one of these is filled. Both are as large as the partition.
        self._latest: dict[str, tuple[int, Row]] = {}
        self._history: dict[str, dict[int, Row]] = {}
        self._erased_at: dict[str, int] = {}

    def add(self, record: Record) -> None:
        """Fold the next record."""
        if record.removes is not None:
            user_id, version = record.removes
            self._history.get(user_id, {}).pop(version, None)
        elif record.event is not None:
            if self._every_event:
                self._add_to_history(record.event)
            else:
                self._keep_latest(record.event)

    def leave_out(self, user_id: str) -> None:
        """Never yield rows of this user, whatever is folded."""
        self._left_out.add(user_id)

    def _keep_latest(self, event: UserEvent) -> None:
        user_id, version = event["user_id"], event["version"]
        stored = self._latest.get(user_id)
        if stored is None or version > stored[0]:
            self._latest[user_id] = version, self._row_of(event)

    def _add_to_history(self, event: UserEvent) -> None:
        user_id, version = event["user_id"], event["version"]
        stored = self._history.setdefault(user_id, {})
        if event["type"] == USER_ERASED:
            self._erased_at[user_id] = max(version, self._erased_at.get(user_id, 0))
            for below in [other for other in stored if other < version]:
                del stored[below]
        if version >= self._erased_at.get(user_id, 0):
            stored.setdefault(version, self._row_of(event))

    def rows(self) -> Iterator[Row]:
        """Yield every row that should be stored, except those of users that are left out."""
        for user_id, (_, row) in self._latest.items():
            if user_id not in self._left_out:
                yield row
        for user_id, rows in self._history.items():
            if user_id not in self._left_out:
                yield from rows.values()
