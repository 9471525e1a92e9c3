"""A Kafka cluster in memory, as far as a handler uses one: a simulation, not a mock.

It has partitions with offsets, transaction markers and a last stable offset; transactional ids with
epochs that fence; offsets that commit with a transaction, or are refused from an old generation of
the group. `memory_group` and `memory_consumer` have the rest. An integration test,
`test_memory_log`, runs the same scenarios over this and over a real broker and compares what they
observe.
"""

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tests.unit.producers.handler.in_memory.partition import (
    Entry,
    PartitionLog,
    Place,
    Status,
    Transaction,
)


def failure(
    code: int, *, retriable: bool = False, fatal: bool = False, abortable: bool = False
) -> KafkaException:
    """Return the exception that a client raises for an error of this code."""
    return KafkaException(
        KafkaError(
            code,
            "in memory",
            fatal=fatal,
            retriable=retriable,
            txn_requires_abort=abortable,
        )
    )


class MemoryLog:
    """The cluster. `before` and `after` let a test do something at a request, such as fail.

    `at_each_request` is called before and after every request; it may kill the client, by raising.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        self.partitions = {
            (topic, number): PartitionLog()
            for topic, count in topics.items()
            for number in range(count)
        }
        # How many brokers have a copy of each partition.
        self.copies = 1
        # The ends that a broker knows which is cut off from the others: readers that ask it see
        # nothing beyond. Producers never ask it: it cannot confirm anything.
        self.ends_when_cut_off: dict[Place, int] = {}
        self.committed: dict[str, dict[Place, int]] = defaultdict(dict)
        self.transactions: set[Transaction] = set()
        self.epochs: dict[str, int] = {}
        self.open: dict[str, Transaction] = {}
        # How the latest transaction of an id ended.
        self.ended: dict[str, Status] = {}
        self.at_each_request: Callable[[], None] = lambda: None
        self._before: dict[str, deque[Callable[[], object]]] = defaultdict(deque)
        self._after: dict[str, deque[Callable[[], object]]] = defaultdict(deque)

    def append(
        self,
        topic: str,
        number: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> int:
        """Append a record outside of any transaction; return its offset."""
        log = self.partitions[topic, number]
        log.entries.append(Entry(key, value, headers=tuple(headers)))
        return log.end - 1

    def records(self, topic: str) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        """Yield (partition, key, value) of every committed record of a topic."""
        for (name, number), log in self.partitions.items():
            if name == topic:
                for entry in log.entries[log.low : log.stable_end]:
                    if entry.is_visible():
                        yield number, entry.key, entry.value

    def delete_before(self, topic: str, number: int, offset: int) -> None:
        """Delete what lies before `offset`, as retention does."""
        self.partitions[topic, number].low = offset

    def remove_key(self, topic: str, key: bytes) -> None:
        """Remove the records of a key, as compaction does after a tombstone."""
        for (name, _), log in self.partitions.items():
            if name == topic:
                log.entries = [
                    replace(one, is_marker=True) if one.key == key else one for one in log.entries
                ]

    def is_offset_pending(self, group: str, place: Place) -> bool:
        """Return whether an open transaction would commit an offset of the group there."""
        return any(place in one.offsets.get(group, {}) for one in self.open.values())

    def time_out(self, transactional_id: str) -> None:
        """End the open transaction as the broker does once it is too old: abort, new epoch."""
        self._fence(transactional_id)

    def before(self, request: str, action: Callable[[], object]) -> None:
        """Do `action` before the next such request; if it raises, the request does not arrive."""
        self._before[request].append(action)

    def after(self, request: str, action: Callable[[], object]) -> None:
        """Do `action` after the next such request; if it raises, the answer is lost."""
        self._after[request].append(action)

    def carry_out(self, request: str, action: Callable[[], None]) -> None:
        """Carry out a client's request, with the actions that a test registered around it."""
        self.at_each_request()
        self.begin(request)
        action()
        self.at_each_request()
        if self._after[request]:
            self._after[request].popleft()()

    def begin(self, request: str) -> None:
        """Run the action that a test registered before such a request."""
        if self._before[request]:
            self._before[request].popleft()()

    def init_producer(self, transactional_id: str) -> int:
        """Fence every earlier producer of this id and abort what it left open; return the epoch."""
        self._fence(transactional_id)
        return self.epochs[transactional_id]

    def _fence(self, transactional_id: str) -> None:
        self.epochs[transactional_id] = self.epochs.get(transactional_id, -1) + 1
        self.end_open(transactional_id, Status.ABORTED)

    def end_open(self, transactional_id: str, status: Status) -> bool:
        """End the open transaction of an id; return False if none is open."""
        transaction = self.open.pop(transactional_id, None)
        if transaction is None:
            return False
        self.ended[transactional_id] = status
        self.end_transaction(transaction, status)
        return True

    def end_late(self, transactional_id: str, epoch: int) -> bool:
        """Carry out a commit that arrives late; return whether it was accepted."""
        if epoch != self.epochs[transactional_id]:
            return False
        self.end_open(transactional_id, Status.COMMITTED)
        return True

    def end_transaction(self, transaction: Transaction, status: Status) -> None:
        """Write the markers; if it is committed, its offsets count from now on."""
        transaction.status = status
        for place in sorted(transaction.places):
            self.partitions[place].entries.append(Entry(None, None, transaction, is_marker=True))
        if status is Status.COMMITTED:
            for group, offsets in transaction.offsets.items():
                self.committed[group].update(offsets)


class MemoryProducer:
    """A transactional producer. `accepts` says whether a group accepts offsets from a member."""

    def __init__(
        self,
        log: MemoryLog,
        transactional_id: str,
        accepts: Callable[[Any], KafkaException | None],
        logger: logging.Logger,
    ) -> None:
        self._log = log
        self._id = transactional_id
        self._accepts = accepts
        self.logger = logger
        self._epoch = -1
        # What this client has told the coordinator of its transaction.
        self._added: set[Place] = set()

    def init_transactions(self, _timeout: float = 0, /) -> None:

        def init() -> None:
            self._epoch = self._log.init_producer(self._id)

        self._log.carry_out("init_transactions", init)

    def begin_transaction(self) -> None:
        """Begin; a fenced producer notices only at a later request.

        Only the client knows that it begins: on the broker, one that has not ended goes on.
        """
        self._added = set()
        if self._is_current():
            self._log.open.setdefault(self._id, Transaction())

    def _is_current(self) -> bool:
        return self._epoch == self._log.epochs[self._id]

    def _transaction(self, place: Place | None = None) -> Transaction:
        """Return the open transaction; fails if this producer is fenced.

        If somebody else's request has ended it, the next place or offsets begin another one
        (`AddPartitionsToTxn`), but no broker takes more records for a known place (KIP-890).
        """
        if not self._is_current():
            raise failure(KafkaError._FENCED, fatal=True)
        transaction = self._log.open.get(self._id)
        if transaction is None:
            if place in self._added:
                raise failure(KafkaError.INVALID_TXN_STATE, abortable=True)
            transaction = self._log.open[self._id] = Transaction()
        if place is not None:
            self._added.add(place)
        return transaction

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | str,
        partition: int,
        *,
        on_delivery: Callable[[KafkaError | None, Message], None] | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Append a record; a fenced producer's record is lost, and its commit fails."""
        if self._is_current():
            transaction = self._transaction((topic, partition))
            transaction.places.add((topic, partition))
            encoded = key.encode() if isinstance(key, str) else key
            entry = Entry(encoded, value, transaction, headers=tuple(headers))
            log = self._log.partitions[topic, partition]
            log.entries.append(entry)
            if on_delivery is not None:
                on_delivery(None, Message(topic, partition, log.end - 1))

    def list_topics(self, topic: str, /, timeout: float = 0) -> Any:  # noqa: ARG002 - as the real
        """Return the metadata of a topic, as far as a handler reads them."""
        replicas = SimpleNamespace(replicas=[*range(self._log.copies)])
        numbers = (number for name, number in self._log.partitions if name == topic)
        return SimpleNamespace(
            topics={topic: SimpleNamespace(partitions=dict.fromkeys(numbers, replicas))}
        )

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], partition: int) -> int:

        def append() -> None:
            for message in messages:
                self.produce(topic, message["value"], message["key"], partition)

        self._log.carry_out("produce_batch", append)
        return len(messages)

    def poll(self, _timeout: float = 0, /) -> int:
        """Do nothing: it has no callbacks."""
        return 0

    def flush(self, _timeout: float = 0, /) -> int:
        """Return 0: everything is delivered at once."""
        return 0

    def send_offsets_to_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, _timeout: float = 0, /
    ) -> None:
        """Have offsets commit with the transaction, unless the group does not accept them."""

        def send() -> None:
            transaction = self._transaction()
            refusal = self._accepts(group_metadata)
            if refusal is not None:
                raise refusal
            offsets = transaction.offsets.setdefault(group_metadata.group, {})
            offsets.update({(one.topic, one.partition): one.offset for one in positions})

        self._log.carry_out("send_offsets_to_transaction", send)

    def commit_transaction(self, _timeout: float = 0, /) -> None:
        self._log.carry_out("commit_transaction", lambda: self._end(Status.COMMITTED))

    def abort_transaction(self, _timeout: float = 0, /) -> None:
        self._log.carry_out("abort_transaction", lambda: self._end(Status.ABORTED))

    def _end(self, status: Status) -> None:
        """End the transaction; if it has ended already, that is an error unless it ended so."""
        if not self._is_current():
            raise failure(KafkaError._FENCED, fatal=True)
        if not self._log.end_open(self._id, status) and self._log.ended.get(self._id) != status:
            raise failure(KafkaError.INVALID_TXN_STATE, fatal=True)
