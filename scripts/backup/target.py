"""The cluster that a restore fills: is it empty, how far an earlier run came, and writing to it.

A restore writes each partition of each topic in one order that never changes, without transactions.
So offset n is the n-th record, and a run continues after the end that it finds, once it has made
sure that nobody else wrote before that.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from confluent_kafka import KafkaException

from producers.client.upgrade import formats_on_the_log
from producers.handler.members import members
from runtime.kafka.client_classes import Producer
from runtime.kafka.clients import (
    end_reader,
    kafka_failure,
    producer_config,
)
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.admin import ensure_topics, wanted_partitions
from runtime.topics.log_ranges import LogRange, Place, read_topic
from schemas.errors import Poisoned, Rejected, Unavailable
from schemas.formats import MARK_SCHEMA, UNFINISHED_RESTORE
from schemas.topics import COMMANDS, EMAILS, EVENTS, HOPS, OUTCOMES, TOPICS, Topic
from scripts.backup.written import Written, not_empty
from scripts.verify.reader import LogReader

_AT_ONCE = 100_000
_FLUSH_SECONDS = 120.0


def ends_of(settings: Settings) -> dict[Place, int]:
    """Return the end of every partition of every topic, by its name on the brokers."""
    with LogReader(settings) as reader:
        return {
            (settings.named(topic.name), number): reader.ends(topic, number).end
            for topic in TOPICS
            for number in range(wanted_partitions(topic, settings))
        }


def prepare(settings: Settings, fingerprint: str) -> Written:
    """Create missing topics; return what an unfinished restore of the same has written.

    Raises `Rejected` (`handlers_running`), and `Misconfigured` (`not_empty`) if there is anything
    else.
    """
    ensure_topics(settings)
    Registry(settings).ensure()
    ends = ends_of(settings)
    if not any(ends.values()):
        require_offsets(settings, {})
        _require_no_handlers_yet(settings)
        return Written(ends)
    _require_unfinished(settings, fingerprint, ends)
    _require_no_handlers_yet(settings)
    written = _read_written(settings, ends)
    written.require_empty(settings.named(HOPS.name))
    return written


def _require_no_handlers_yet(settings: Settings) -> None:
    require_no_handlers(settings, "stop all of them first, and wait until their sessions expired")


def require_no_handlers(settings: Settings, next_step: str) -> None:
    """Raise `Rejected` (`handlers_running`) while the handlers' group has members."""
    if members(settings):
        raise Rejected("handlers are running", code="handlers_running", next_step=next_step)


def require_offsets(settings: Settings, expected: Mapping[int, int]) -> None:
    """Raise `Misconfigured` (`not_empty`) if the handlers' group has other offsets than these.

    `expected` are those of `user-commands` by partition; it may have none.
    """
    with LogReader(settings) as reader:
        for number in range(settings.partitions):
            if reader.committed(number) not in {-1, expected.get(number, -1)}:
                raise not_empty("the handlers' group has offsets of its own")


def _read_written(settings: Settings, ends: Mapping[Place, int]) -> Written:
    """Read the keys of what clients and handlers could have written as well."""
    lows: dict[Place, int] = {}
    keys: dict[Place, dict[int, object]] = {}
    with closing(end_reader(settings)) as consumer, LogReader(settings) as reader:
        for topic in (EMAILS, OUTCOMES, COMMANDS):
            name = settings.named(topic.name)
            ranges = {p: reader.ends(topic, p) for p in range(settings.partitions)}
            lows |= {(name, p): one.low for p, one in ranges.items()}
            keys |= {(name, p): {} for p in ranges}
            for messages in read_topic(settings, consumer, topic, ranges):
                for one in messages:
                    keys[name, one.partition() or 0][one.offset() or 0] = one.key()
    return Written(ends, lows, keys)


def _require_unfinished(settings: Settings, fingerprint: str, ends: Mapping[Place, int]) -> None:
    """Raise `Misconfigured` unless the topics hold an unfinished restore with this fingerprint."""
    name = settings.named(EVENTS.name)
    begun = [number for number in range(settings.partitions) if ends[name, number]]
    if not begun:
        raise not_empty("its topics have records")
    codec = Registry(settings).codec(MARK_SCHEMA)
    with closing(end_reader(settings)) as reader:
        for messages in read_topic(settings, reader, EVENTS, dict.fromkeys(begun, LogRange(0, 1))):
            for message in messages:
                try:
                    mark = codec.decode(message.value())
                except Poisoned:
                    raise not_empty("its topics have records") from None
                if mark["format"] != UNFINISHED_RESTORE:
                    raise not_empty("its topics have records")
                if mark["finalised_by"] != fingerprint:
                    raise not_empty(
                        "it holds an unfinished restore of another backup, or with other erasures"
                    )
    formats = formats_on_the_log(settings, begun)
    if any(number != UNFINISHED_RESTORE for number in formats.values()):
        raise not_empty("this backup is restored already")


class LogWriter:
    """Appends records to the topics of a registry; those that are `written` already are passed.

    `report` gets the number of records passed or stored.
    """

    def __init__(self, settings: Settings, written: Written, report: Callable[[int], None]) -> None:
        self._settings = settings
        self._written = written
        self._report = report
        # A gap would shift every later record: offset n must be the n-th record.
        config = producer_config(settings) | {"enable.gapless.guarantee": True}
        self._producer = Producer(config)
        self._waiting: dict[Place, list[dict[str, Any]]] = defaultdict(list)
        self._count = 0

    def write(self, topic: Topic, partition: int, key: str | None, value: bytes | None) -> None:
        """Append a record, or pass it if an earlier run wrote it.

        Raises what `flush` and `Written.passes` raise.
        """
        place = (self._settings.named(topic.name), partition)
        if self._written.passes(place, key):
            self._report(1)
            return
        self._waiting[place].append({"key": key, "value": value})
        self._count += 1
        if self._count >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Return once the brokers have stored everything. Raises `Unavailable` or `Forbidden`."""
        failed: list[Any] = []

        def answered(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        for (name, partition), records in self._waiting.items():
            self._producer.produce_batch(name, records, partition=partition, on_delivery=answered)
            failed += [record["_error"] for record in records if "_error" in record]
        self._waiting.clear()
        left = self._producer.flush(_FLUSH_SECONDS)
        if failed:
            raise kafka_failure(self._settings, KafkaException(failed[0]))
        if left:
            raise Unavailable(
                f"Kafka took no record within {_FLUSH_SECONDS:g} s", code="kafka_unavailable"
            )
        self._report(self._count)
        self._count = 0
