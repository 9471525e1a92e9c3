"""The in-memory cluster of a run: timeouts, compaction, requests that arrive late.

`archive` still has what compaction and retention removed, so that the checks see everything.
"""

import logging
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from runtime.process import StopSignal
from schemas.errors import Misconfigured
from schemas.topics import COMMANDS, EMAILS, EVENTS, HISTORY, HOPS, TOPICS
from tests.simulation.simulated.virtual_time import VirtualTime
from tests.unit.producers.handler.in_memory.clients import MemoryClients
from tests.unit.producers.handler.in_memory.consumer import MemoryConsumer
from tests.unit.producers.handler.in_memory.group import Member, MemoryGroup
from tests.unit.producers.handler.in_memory.log import MemoryLog, MemoryProducer, failure
from tests.unit.producers.handler.in_memory.partition import (
    Entry,
    PartitionLog,
    Place,
    Status,
    Transaction,
)

PARTITIONS = 3
INPUTS = (COMMANDS.name, HOPS.name)
COMPACTED = (EVENTS.name, HISTORY.name, EMAILS.name)
SESSION_MS = 6_000
TRANSACTION_MS = 10_000
# Long enough for every restore of a run, as Kafka's default is.
KEEP_TOMBSTONES_MS = 60_000

# The transactional id and the epoch of a request.
LateEnd = tuple[str, int]


class SimulatedLog(MemoryLog):
    """A log that tells `point` of every request, and ends what takes too long."""

    def __init__(self, time: VirtualTime, point: Callable[[str], str | None]) -> None:
        super().__init__({topic.name: 1 if topic.one_partition else PARTITIONS for topic in TOPICS})
        self.time = time
        self.point = point
        self.committed_order: list[Transaction] = []
        # The ids of commands that nobody can answer any more, by user and offset (`retention`).
        self.lost: dict[tuple[str, int], str] = {}
        self.has_lost_messages = False
        self._removed: dict[tuple[Place, int], Entry] = {}
        self._begun_ms: dict[str, tuple[Transaction, int]] = {}
        # Ends of transactions that are still on their way, with the number of requests until they
        # arrive.
        self._late: list[tuple[LateEnd, int]] = []
        self.delay_requests = 0
        self.requester: SimulatedProducer | None = None

    def carry_out(self, request: str, action: Callable[[], None]) -> None:
        """Carry out a request; what was prepared for it happens before or after."""
        self._late = [(late, left - 1) for late, left in self._late]
        if arrived := [late for late, left in self._late if left <= 0]:
            self._deliver(arrived)
            self.point("late end arrived")
        requester = self.requester
        if self.point(f"before {request}") == "delay" and requester:
            self._late.append((requester.sender(), self.delay_requests))
            raise failure(KafkaError._TIMED_OUT)
        action()
        if self.point(f"after {request}") == "duplicate" and requester:
            self._late.append((requester.sender(), self.delay_requests))
            lost = {"msg": "FAIL: connection lost", "levelno": logging.WARNING}
            requester.logger.handle(logging.makeLogRecord(lost))

    def begin(self, request: str) -> None:
        """Do nothing: readers have points of their own."""

    def end_transaction(self, transaction: Transaction, status: Status) -> None:
        super().end_transaction(transaction, status)
        if status is Status.COMMITTED:
            self.committed_order.append(transaction)

    def deliver_late(self) -> None:
        """Let everything arrive that is on its way."""
        self._deliver([late for late, _ in self._late])

    def _deliver(self, ends: list[LateEnd]) -> None:
        self._late = [(late, left) for late, left in self._late if late not in ends]
        for transactional_id, epoch in ends:
            self.end_late(transactional_id, epoch)

    def time_out_old(self) -> None:
        """End transactions that are open for too long, as the coordinator does."""
        for transactional_id, transaction in list(self.open.items()):
            known, since = self._begun_ms.get(transactional_id, (None, 0))
            if known is not transaction:
                self._begun_ms[transactional_id] = transaction, self.time.now_ms
            elif self.time.now_ms - since > TRANSACTION_MS:
                self.time_out(transactional_id)

    def archive(self, topic: str, number: int) -> Iterator[tuple[int, Entry]]:
        """Yield offset and entry of all that was ever appended to a partition."""
        place = (topic, number)
        for offset, entry in enumerate(self.partitions[place].entries):
            yield offset, self._removed.get((place, offset), entry)

    def compact(self, chance: Random) -> None:
        """Clean about half of the partitions."""
        for topic in COMPACTED:
            for number in range(PARTITIONS):
                if chance.random() < 0.5:
                    self._clean((topic, number), chance)

    def _clean(self, place: Place, chance: Random) -> None:
        """Clean a partition as a broker may: any closed part of it, and not all that it could."""
        log = self.partitions[place]
        cleaned, greed = chance.randint(0, log.stable_end), chance.choice((0.5, 0.5, 1.0))
        last = {e.key: n for n, e in enumerate(log.entries[:cleaned]) if e.is_visible()}
        kept: set[bytes | None] = set()
        for offset in range(cleaned):
            entry = log.entries[offset]
            if not entry.is_visible():
                continue
            is_old = self.time.now_ms - entry.at_ms > KEEP_TOMBSTONES_MS
            is_bare = entry.value is None and is_old and entry.key not in kept
            if (last[entry.key] != offset or is_bare) and chance.random() < greed:
                self._remove(place, log, offset)
            else:
                kept.add(entry.key)

    def _remove(self, place: Place, log: PartitionLog, offset: int) -> None:
        entry = log.entries[offset]
        self._removed.setdefault((place, offset), entry)
        log.entries[offset] = Entry(None, None, entry.transaction, is_marker=True)


class SimulatedGroup(MemoryGroup):
    """A group whose members leave once they have not polled for a session."""

    def __init__(self, log: SimulatedLog, name: str) -> None:
        super().__init__(log, name, PARTITIONS)
        self._time = log.time
        self._polled_ms: dict[str, int] = {}

    def join(self, identity: str) -> Member:
        self.expire_silent()
        self._polled_ms[identity] = self._time.now_ms
        return super().join(identity)

    def heartbeat(self, member: Member, owned: set[int]) -> None:
        super().heartbeat(member, owned)
        for identity, one in self.members.items():
            if one is member:
                self._polled_ms[identity] = self._time.now_ms

    def expire_silent(self) -> None:
        """Remove members whose session has ended."""
        for identity in list(self.members):
            if self._time.now_ms - self._polled_ms[identity] > SESSION_MS:
                self.expire(identity)


class SimulatedConsumer(MemoryConsumer):
    """A consumer that gets few records at once, and whose polls take time."""

    fetch_records = 100
    is_reader = False

    def poll(self, _timeout: float = 0, /) -> Any:
        message = super().poll(_timeout)
        if message is None:
            cast("SimulatedLog", self._log).time.sleep(min(_timeout, 0.05))
        return message

    def consume(self, num_messages: int, _timeout: float = 0, /) -> list[Any]:
        if self.is_reader:
            cast("SimulatedLog", self._log).point("restore")
        return super().consume(min(num_messages, self.fetch_records), _timeout)

    def seek(self, partition: TopicPartition) -> None:
        """Seek; what was fetched before may still be delivered (confluent-kafka-python#1013)."""
        place = (partition.topic, partition.partition)
        before = self._positions.get(place)
        super().seek(partition)
        log = self._log.partitions[place]
        if before is not None and before != partition.offset:
            stale = log.next_visible(max(before, log.low))
            if stale is not None:
                self.queued.append(self.message(place, stale))

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        """Commit offsets for lag tools, as projectors do."""
        assert isinstance(asynchronous, bool)
        committed = self._log.committed[self._group.name]
        committed.update({(one.topic, one.partition): one.offset for one in offsets})


class SimulatedProducer(MemoryProducer):
    """A producer whose commit can arrive late, or twice."""

    def commit_transaction(self, _timeout: float = 0, /) -> None:
        cast("SimulatedLog", self._log).requester = self
        super().commit_transaction(_timeout)

    def sender(self) -> LateEnd:
        """Return transactional id and epoch, as its requests carry them."""
        return self._id, self._epoch


class SimulatedClients(MemoryClients):
    """A handler's clients in a run."""

    def __init__(self, group: SimulatedGroup, identity: str, fetch_records: int) -> None:
        super().__init__(group, identity)
        self._fetch_records = fetch_records

    def require_unique_identity(self, _stop: StopSignal) -> None:
        """Refuse to join again while another process has the identity."""
        if self.identity in self._group.members:
            raise Misconfigured("another process has this identity", code="instance_taken")

    def _consumer(self, *, is_reader: bool = False, **options: bool) -> Consumer:
        consumer = SimulatedConsumer(self._group, self.identity, **options)
        consumer.fetch_records, consumer.is_reader = self._fetch_records, is_reader
        return cast("Consumer", consumer)

    def group_consumer(self) -> Consumer:
        return self._consumer()

    def committed_reader(self) -> Consumer:
        return self._consumer(is_reader=True, reports_ends=True)

    def uncommitted_reader(self) -> Consumer:
        return self._consumer(committed_only=False)

    def transactional_producer(self, logger: logging.Logger) -> Producer:
        producer = SimulatedProducer(self._group.log, self.identity, self._refusal, logger)
        return cast("Producer", producer)
