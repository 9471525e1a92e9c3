"""What a read model should hold: the log folded from its beginning up to a checkpoint."""

from collections.abc import Callable, Iterator

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from projectors.intake import Record, read_record
from projectors.log_end import log_ranges
from projectors.read_model import Row
from projectors.source import Source
from runtime.kafka import arrived, kafka_available, lone_consumer
from runtime.settings import Settings
from schemas.errors import Unavailable
from schemas.records import USER_ERASED, UserEvent

_RECORDS_A_STEP = 10_000
_WAIT_SECONDS = 1.0
_SILENT_WAITS = 30


def read_partition(
    settings: Settings,
    source: Source,
    decode: Callable[[bytes | None], UserEvent],
    partition: int,
) -> Iterator[list[Record]]:
    """Yield the committed records of a partition in order, to its end as it is when that is read.

    Raises `Unavailable` if Kafka or the registry is, or if nothing comes for 30 s.
    """
    low = log_ranges(settings, source.topic, [partition])[partition].low
    topic = settings.named(source.topic.name)
    consumer = lone_consumer(settings, **{"enable.partition.eof": True})
    silent = 0
    try:
        with kafka_available(settings):
            consumer.assign([TopicPartition(topic, partition, low)])
        while True:
            with kafka_available(settings):
                messages = arrived(consumer, _RECORDS_A_STEP, _WAIT_SECONDS)
                read = [message for message in messages if _is_record(message)]
            silent = 0 if messages else silent + 1
            if silent >= _SILENT_WAITS:
                raise Unavailable(
                    f"Kafka does not send {topic} partition {partition}", code="kafka_unavailable"
                )
            yield [read_record(message, source, decode, settings.partitions) for message in read]
            if len(read) < len(messages):
                return
    finally:
        consumer.close()


def _is_record(message: Message) -> bool:
    """Say whether it is a record, rather than the end of the log."""
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
        raise KafkaException(error)
    return error is None


class LogFold:
    """The rows of one partition, as `row_of` makes them of the events that count."""

    def __init__(self, source: Source, row_of: Callable[[UserEvent], Row]) -> None:
        self._left_out: set[str] = set()
        self._every_event = source.every_event
        self._row_of = row_of
        # By user id; of one of the two there is nothing. A fold of a large partition is large.
        self._latest: dict[str, tuple[int, Row]] = {}
        self._history: dict[str, dict[int, Row]] = {}
        self._erased_at: dict[str, int] = {}

    def add(self, record: Record) -> None:
        """Fold the next record in."""
        if record.removes is not None:
            user_id, version = record.removes
            self._history.get(user_id, {}).pop(version, None)
        elif record.event is not None:
            if self._every_event:
                self._add_to_history(record.event)
            else:
                self._keep_latest(record.event)

    def leave_out(self, user_id: str) -> None:
        """Yield no row of this user, whatever is folded in."""
        self._left_out.add(user_id)

    def _keep_latest(self, event: UserEvent) -> None:
        user_id, version = event["user_id"], event["version"]
        held = self._latest.get(user_id)
        if held is None or version > held[0]:
            self._latest[user_id] = version, self._row_of(event)

    def _add_to_history(self, event: UserEvent) -> None:
        user_id, version = event["user_id"], event["version"]
        held = self._history.setdefault(user_id, {})
        if event["type"] == USER_ERASED:
            self._erased_at[user_id] = max(version, self._erased_at.get(user_id, 0))
            for below in [other for other in held if other < version]:
                del held[below]
        if version >= self._erased_at.get(user_id, 0):
            held.setdefault(version, self._row_of(event))

    def rows(self) -> Iterator[Row]:
        """Yield every row that should be held of the users that are not left out."""
        for user_id, (_, row) in self._latest.items():
            if user_id not in self._left_out:
                yield row
        for user_id, rows in self._history.items():
            if user_id not in self._left_out:
                yield from rows.values()
