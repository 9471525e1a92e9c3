"""A reader reaches the end that a log had, whatever it contains or is written meanwhile."""

import math
from collections.abc import Iterator, Mapping
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, Message

from runtime.settings import Settings
from runtime.topics.log_ranges import LogRange, Place, read_ranges
from schemas.errors import Unavailable
from tests.unit.producers.handler.in_memory.consumer import MemoryConsumer
from tests.unit.producers.handler.in_memory.group import MemoryGroup
from tests.unit.producers.handler.in_memory.log import MemoryLog, failure
from tests.unit.producers.handler.in_memory.partition import Entry, Status, Transaction

TOPIC, OTHER = "t", "other"
ENDLESS = math.inf


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog({TOPIC: 2, OTHER: 1})


def append(
    log: MemoryLog, place: Place, count: int, transaction: Transaction | None = None
) -> None:
    """Append records, each with its offset as its value."""
    partition = log.partitions[place]
    for _ in range(count):
        partition.entries.append(Entry(b"k", str(partition.end).encode(), transaction))
    if transaction is not None:
        transaction.places.add(place)


class BusyConsumer(MemoryConsumer):
    """A consumer of a partition to which another record is appended before each poll."""

    def poll(self, timeout: float = 0, /) -> Message | None:
        append(self._log, (TOPIC, 0), 1)
        return super().poll(timeout)

    def consume(self, _num_messages: int, _timeout: float = 0, /) -> list[Message]:
        """Return nothing: records arrive one at a time."""
        return []


def end_of(log: MemoryLog, place: Place) -> LogRange:
    return LogRange(0, log.partitions[place].end)


def reader(log: MemoryLog) -> MemoryConsumer:
    return MemoryConsumer(MemoryGroup(log, "g", 2), reports_ends=True)


def read(
    consumer: MemoryConsumer, ranges: Mapping[Place, LogRange], silence_seconds: float = ENDLESS
) -> Iterator[list[Message]]:
    log = cast("Consumer", consumer)
    return read_ranges(Settings(), log, ranges, silence_seconds=silence_seconds)


def offsets(batches: Iterator[list[Message]]) -> dict[Place, list[int]]:
    """Return place → offsets read."""
    found: dict[Place, list[int]] = {}
    for batch in batches:
        for message in batch:
            place = (message.topic() or "", message.partition() or 0)
            found.setdefault(place, []).append(message.offset() or 0)
    return found


def test_ranges_of_several_topics_are_read_and_empty_ones_are_not(log: MemoryLog) -> None:
    append(log, (TOPIC, 0), 3)
    append(log, (OTHER, 0), 2)
    ranges = {
        (TOPIC, 0): LogRange(1, 3),
        (TOPIC, 1): LogRange(0, 0),
        (OTHER, 0): LogRange(0, 2),
    }
    assert offsets(read(reader(log), ranges)) == {(TOPIC, 0): [1, 2], (OTHER, 0): [0, 1]}
    assert list(read(reader(log), {(TOPIC, 0): LogRange(2, 2)})) == []


def test_an_idle_log_that_ends_with_markers_and_aborted_records_is_read_to_its_end(
    log: MemoryLog,
) -> None:
    append(log, (TOPIC, 0), 2, committed := Transaction())
    log.end_transaction(committed, Status.COMMITTED)
    append(log, (TOPIC, 0), 2, aborted := Transaction())
    log.end_transaction(aborted, Status.ABORTED)
    ranges = {(TOPIC, 0): end_of(log, (TOPIC, 0))}
    assert ranges[TOPIC, 0].end == 6
    assert offsets(read(reader(log), ranges)) == {(TOPIC, 0): [0, 1]}


def test_records_written_meanwhile_are_not_read_and_do_not_prolong_reading(
    log: MemoryLog,
) -> None:
    """Under a steady load the end of the partition is never reported."""
    append(log, (TOPIC, 0), 2, transaction := Transaction())
    log.end_transaction(transaction, Status.COMMITTED)
    ranges = {(TOPIC, 0): end_of(log, (TOPIC, 0))}
    consumer = BusyConsumer(MemoryGroup(log, "g", 2), reports_ends=True)
    assert offsets(read(consumer, ranges)) == {(TOPIC, 0): [0, 1]}


def test_a_range_beyond_an_open_transaction_is_read_once_it_ends(log: MemoryLog) -> None:
    """An end reported before the range's own, at the last stable offset, does not count."""
    append(log, (TOPIC, 0), 1)
    append(log, (TOPIC, 0), 1, transaction := Transaction())
    batches = read(reader(log), {(TOPIC, 0): end_of(log, (TOPIC, 0))})
    assert [message.offset() for message in next(batches)] == [0]
    for _ in range(5):
        assert next(batches) == []
    log.end_transaction(transaction, Status.COMMITTED)
    assert offsets(batches) == {(TOPIC, 0): [1]}


def test_silence_is_unavailable_and_names_the_place(log: MemoryLog) -> None:
    append(log, (TOPIC, 0), 1, Transaction())
    with pytest.raises(Unavailable, match="does not send t partition 0 up to offset 1"):
        list(read(reader(log), {(TOPIC, 0): LogRange(0, 1)}, silence_seconds=1))


def test_an_error_is_unavailable(log: MemoryLog) -> None:
    append(log, (TOPIC, 0), 1)
    consumer = reader(log)
    consumer.queued.append(Message(error=failure(KafkaError._TRANSPORT).args[0]))
    with pytest.raises(Unavailable):
        list(read(consumer, {(TOPIC, 0): LogRange(0, 1)}))
