"""The command handler: one writer per partition, deciding commands exactly once.

Input offsets, events, history and outcomes are committed in one Kafka transaction (KIP-98), fenced
by the group's generation (KIP-447): a process that lost a partition cannot commit for it. The order
that this rests on is numbered in `_run_once` and `_commit`.
"""

import logging
import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from producers.decisions import Decisions
from producers.restore import Restore
from producers.state import PartitionState
from runtime.kafka import (
    arrived,
    consumer_config,
    kafka_unavailable,
    transactional_config,
)
from runtime.process import Backoff, StopSignal
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import Fenced, Misconfigured, Poisoned
from schemas.records import DeadLetter, UserCommand
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, HISTORY, OUTCOMES

log = logging.getLogger(__name__)

GROUP = "rollbook-handler"
_IDLE_SECONDS = 0.2
_RESTORING_SECONDS = 0.0
_COMMITTED_SECONDS = 0.5
_COMMIT_SECONDS = 30.0
_TRY_SECONDS = 5.0

# Errors that say "another process has this identity" or "this one is too old to write".
_FENCED = {
    KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own name
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
}


class _IndefiniteError(Exception):
    """Whether the transaction was committed is not known."""


@dataclass(slots=True)
class _Partition:
    """One assigned partition: restoring while `state` is None, then deciding from `next_offset`."""

    number: int
    next_offset: int | None = None
    restore: Restore | None = None
    state: PartitionState | None = None
    # A gap seen once may be a stale message after a seek; seen again it is the log's own.
    gap: tuple[int, int] | None = None


@dataclass(slots=True)
class _Work:
    """What one transaction will hold."""

    decisions: dict[int, Decisions] = field(default_factory=dict)
    next_offsets: dict[int, int] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)


class CommandHandler:
    """Decides the commands of the partitions that the group gives it.

    `instance` is its stable identity (static membership, KIP-345, and transactional id): started
    again under the same name it fences its own past and takes its partitions back at once.
    """

    def __init__(
        self, settings: Settings, registry: Registry, instance: str, stop: StopSignal
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._transactional_id = settings.named(f"{GROUP}-{instance}")
        self._commands = registry.codec(COMMANDS.schema)
        self._events = registry.codec(EVENTS.schema)
        self._outcomes = registry.codec(OUTCOMES.schema)
        self._letters = registry.codec(DEAD_LETTERS.schema)
        self._commands_topic = settings.named(COMMANDS.name)
        self._partitions: dict[int, _Partition] = {}
        self._turn = count()
        self._backoff = Backoff()
        # Fence our own past before anything is read or subscribed.
        self._producer = self._new_producer()
        self._consumer = Consumer(
            consumer_config(settings, settings.named(GROUP))
            | {
                "group.instance.id": self._transactional_id,
                # Not KIP-848's protocol: there a killed static member blocks its own return until
                # its session ends.
                "group.protocol": "classic",
                "session.timeout.ms": int(settings.session_timeout_seconds * 1000),
                "heartbeat.interval.ms": int(settings.session_timeout_seconds * 1000 / 4),
                # Only what moves is restored anew; the other partitions go on deciding.
                "partition.assignment.strategy": "cooperative-sticky",
            }
        )

    def _new_producer(self) -> Producer:
        producer = Producer(transactional_config(self._settings, self._transactional_id))
        backoff = Backoff()
        while not self._stop:
            try:
                producer.init_transactions(_TRY_SECONDS)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise self._failure(error) from error
                log.warning("waiting for the transaction coordinator: %s", error.args[0].str())
                self._stop.wait(backoff.next_seconds())
            else:
                break
        return producer

    def run(self) -> None:
        """Decide until asked to stop.

        Raises `Fenced` or `Misconfigured` when it must not go on; anything a server may recover
        from is waited for here, with the partition's place in the log kept.
        """
        self._consumer.subscribe(
            [self._commands_topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        try:
            while not self._stop:
                self._run_once()
        finally:
            self._close()

    def _run_once(self) -> None:
        """Take one step: restore a little, or decide one batch.

        1. Take what has arrived. 2. Take the group's metadata with it: a later call may already
        speak for a newer generation. 3. Decide on an overlay. 4. Commit. 5. Fold the overlay in.
        """
        restoring = self._restore_step()
        messages = self._take(_RESTORING_SECONDS if restoring else _IDLE_SECONDS)
        metadata = self._consumer.consumer_group_metadata() if messages else None
        if not messages or not self._consumer.memberid():
            return
        work = self._decide(messages)
        if not work.next_offsets:
            return
        try:
            self._commit(work, metadata)
        except _IndefiniteError:
            self._begin_anew()
            return
        except KafkaException as error:
            self._abort(work, error)
            return
        for number, decisions in work.decisions.items():
            decisions.fold()
        for number, offset in work.next_offsets.items():
            self._partitions[number].next_offset = offset
        self._backoff.reset()

    # Ownership: all of it happens inside poll and consume, so never during a transaction.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take partitions over, paused: they are restored by and by in the main loop."""
        taken = [TopicPartition(tp.topic, tp.partition, OFFSET_END) for tp in partitions]
        consumer.incremental_assign(taken)
        if taken:
            consumer.pause(taken)
        for tp in partitions:
            self._partitions[tp.partition] = _Partition(tp.partition)
        if partitions:
            log.info("assigned partitions %s", sorted(tp.partition for tp in partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Forget partitions: another process decides them from here on."""
        for tp in partitions:
            self._forget(self._partitions.pop(tp.partition, None))
        consumer.incremental_unassign(partitions)
        if partitions:
            log.info("gave up partitions %s", sorted(tp.partition for tp in partitions))

    def _forget(self, partition: _Partition | None) -> None:
        if partition and partition.restore:
            partition.restore.close()

    def _restore_step(self) -> bool:
        """Restore one step of one partition; True while any is not ready."""
        waiting = [p for p in self._partitions.values() if p.state is None]
        if not waiting:
            return False
        # In turn: one that waits for a predecessor's transaction does not hold up the others.
        partition = waiting[next(self._turn) % len(waiting)]
        try:
            if partition.next_offset is None:
                partition.next_offset = self._committed(partition.number)
            if partition.restore is None:
                partition.restore = Restore(
                    self._settings, partition.number, self._events, self._outcomes
                )
            state = partition.restore.step()
        except KafkaException as error:
            log.warning("restoring partition %d: %s", partition.number, error.args[0].str())
            if partition.restore:
                partition.restore.close()
            partition.restore = None
            self._stop.wait(self._backoff.next_seconds())
            return True
        if state is not None:
            partition.restore.close()
            partition.restore = None
            self._begin(partition, state)
        return True

    def _committed(self, number: int) -> int:
        """Return the committed offset; waits while a predecessor's transaction is open (KIP-447).

        No offset is right only where nothing was ever decided: `_begin` checks that.
        """
        tp = TopicPartition(self._commands_topic, number)
        [committed] = self._consumer.committed([tp], timeout=_COMMITTED_SECONDS)
        if committed.error:
            raise KafkaException(committed.error)
        return int(committed.offset)

    def _begin(self, partition: _Partition, state: PartitionState) -> None:
        """Start deciding at the committed offset, which must agree with the outcomes."""
        decided = state.window.last_offset
        offset = partition.next_offset if partition.next_offset is not None else -1
        if offset < 0 and decided < 0 and not state.users:
            offset = 0
        if offset <= decided or offset < 0:
            raise Misconfigured(
                f"group {self._settings.named(GROUP)} has no right offset for partition "
                f"{partition.number}: commands up to {decided} are decided",
                code="lost_offsets",
                next_step=f"set it to {decided + 1} with Kafka's kafka-consumer-groups tool",
            )
        low, _ = self._consumer.get_watermark_offsets(
            TopicPartition(self._commands_topic, partition.number), timeout=_TRY_SECONDS
        )
        if offset < low:
            log.error(
                "commands %d–%d of partition %d were deleted by retention before they were decided",
                offset,
                low - 1,
                partition.number,
            )
        partition.next_offset = max(offset, low)
        partition.state = state
        self._seek(partition)
        self._consumer.resume([TopicPartition(self._commands_topic, partition.number)])

    def _seek(self, partition: _Partition) -> None:
        offset = partition.next_offset or 0
        self._consumer.seek(TopicPartition(self._commands_topic, partition.number, offset))

    # One batch.

    def _take(self, wait_seconds: float) -> list[Message]:
        """Return what has arrived and is ours to decide, in the log's order per partition."""
        messages = arrived(self._consumer, self._settings.batch_commands, wait_seconds)
        taken: list[Message] = []
        expected: dict[int, int] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._check(error, message)
                continue
            partition = self._partitions.get(message.partition() or 0)
            if partition is None or partition.state is None or partition.next_offset is None:
                continue
            wanted = expected.get(partition.number, partition.next_offset)
            offset = message.offset() or 0
            if offset < wanted:
                continue  # delivered again after a seek: confluent-kafka-python#1013, #1443
            if offset > wanted and partition.gap != (wanted, offset):
                partition.gap = (wanted, offset)
                partition.next_offset = wanted
                self._seek(partition)
                expected[partition.number] = offset + len(messages) + (1 << 62)
                continue
            expected[partition.number] = offset + 1
            taken.append(message)
        return taken

    def _check(self, error: KafkaError, message: Message) -> None:
        """Stop for errors of the consumer that waiting does not cure."""
        if error.code() == KafkaError.FENCED_INSTANCE_ID:
            raise Misconfigured(
                f"another process runs as {self._transactional_id}",
                code="instance_taken",
                next_step="give every handler its own --instance",
            )
        if error.fatal():
            raise Fenced(f"the consumer cannot go on: {error.str()}")
        partition = self._partitions.get(message.partition() or 0)
        if error.code() == KafkaError._AUTO_OFFSET_RESET and partition and partition.state:  # noqa: SLF001
            raise Misconfigured(
                f"offset {partition.next_offset} of {self._commands_topic} partition "
                f"{partition.number} does not exist",
                code="lost_offsets",
                next_step="was the topic created anew? the handler's group must start anew with it",
            )
        log.warning("reading commands: %s", error.str())

    def _decide(self, messages: list[Message]) -> _Work:
        now = time.time_ns() // 1_000_000
        work = _Work()
        for message in messages:
            number, offset = message.partition() or 0, message.offset() or 0
            decisions = work.decisions.get(number)
            if decisions is None:
                state = self._partitions[number].state
                if state is None:  # pragma: no cover - `_take` passes ready partitions only
                    raise AssertionError("a batch holds a partition that is not ready")
                decisions = work.decisions[number] = Decisions(
                    state, number, self._settings.partitions, now=now
                )
            work.next_offsets[number] = offset + 1
            try:
                record: UserCommand = self._commands.decode(message.value())
                decisions.decide(offset, record)
            except Poisoned as poisoned:
                log.warning(
                    "dead letter: %s partition %d offset %d: %s",
                    self._commands_topic,
                    number,
                    offset,
                    poisoned,
                )
                work.dead_letters.append(self._letter(number, offset, poisoned, now))
        return work

    def _letter(self, number: int, offset: int, poisoned: Poisoned, now: int) -> DeadLetter:
        return {
            "topic": self._commands_topic,
            "partition": number,
            "offset": offset,
            "reader": "handler",
            "error": poisoned.code,
            "message": str(poisoned),
            "occurred_at": now,
        }

    # One transaction.

    def _commit(self, work: _Work, metadata: Any) -> None:
        """Append everything of `work` and its input offsets, or nothing of it.

        1. Begin. 2. Produce. 3. Send the offsets, which the broker refuses from an old generation.
        4. Commit, which waits for every delivery. Raises KafkaException if nothing was committed,
        `_IndefiniteError` if that is not known.
        """
        producer = self._producer
        producer.begin_transaction()
        for number, decisions in work.decisions.items():
            self._produce(number, decisions)
        for letter in work.dead_letters:
            producer.produce(
                self._settings.named(DEAD_LETTERS.name),
                key=f"{letter['topic']}:{letter['partition']}:{letter['offset']}",
                value=self._letters.encode(letter),
                partition=0,
            )
        offsets = [
            TopicPartition(self._commands_topic, number, offset)
            for number, offset in work.next_offsets.items()
        ]
        self._retrying(
            lambda: producer.send_offsets_to_transaction(offsets, metadata, _TRY_SECONDS)
        )
        try:
            self._retrying(lambda: producer.commit_transaction(_TRY_SECONDS))
        except KafkaException as error:
            if error.args[0].txn_requires_abort() or error.args[0].code() in _FENCED:
                raise
            raise _IndefiniteError from error

    def _produce(self, number: int, decisions: Decisions) -> None:
        """Queue the records; an event is encoded once for its two topics."""
        encode = self._events.encode
        events, history = [], []
        for event in decisions.events:
            value = encode(event)
            events.append({"key": event["user_id"], "value": value})
            history.append({"key": event["event_id"], "value": value})
        outcomes = [
            {"key": outcome["command_id"], "value": self._outcomes.encode(outcome)}
            for outcome in decisions.outcomes
        ]
        for topic, messages in ((EVENTS, events), (HISTORY, history), (OUTCOMES, outcomes)):
            if not messages:
                continue
            name = self._settings.named(topic.name)
            if self._producer.produce_batch(name, messages, partition=number) != len(messages):
                failed = next(m["_error"] for m in messages if "_error" in m)
                raise KafkaException(failed)

    def _retrying(self, step: Any) -> None:
        """Repeat a step of the transaction while librdkafka calls its error retriable."""
        deadline = time.monotonic() + _COMMIT_SECONDS
        while True:
            try:
                step()
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise
            else:
                return

    def _abort(self, work: _Work, error: KafkaException) -> None:
        """Drop the batch and go back to its first command; stop if another process owns it."""
        if error.args[0].fatal() or error.args[0].code() in _FENCED:
            raise self._failure(error) from error
        log.warning("transaction aborted, its commands are decided again: %s", error.args[0].str())
        try:
            self._retrying(lambda: self._producer.abort_transaction(_TRY_SECONDS))
        except KafkaException as failed:
            if failed.args[0].fatal() or failed.args[0].code() in _FENCED:
                raise self._failure(failed) from failed
            self._begin_anew()
            return
        for number in work.next_offsets:
            self._seek(self._partitions[number])
        self._stop.wait(self._backoff.next_seconds())

    def _begin_anew(self) -> None:
        """After an indefinite result: a new producer, and every partition restored from the log.

        librdkafka speaks transactions v1 (no epoch bump, librdkafka#5423): a late EndTxn could end
        the *next* transaction of the same epoch. `init_transactions` raises the epoch first.
        """
        log.warning("whether a transaction was committed is not known: reading it from the log")
        self._producer = self._new_producer()
        owned = list(self._partitions)
        self._consumer.pause([TopicPartition(self._commands_topic, number) for number in owned])
        for number in owned:
            self._forget(self._partitions[number])
            self._partitions[number] = _Partition(number)

    def _failure(self, error: KafkaException) -> Exception:
        if error.args[0].code() in _FENCED or error.args[0].fatal():
            return Fenced(
                f"another process took over as {self._transactional_id}: {error.args[0].str()}",
                next_step="give every handler its own --instance",
            )
        return kafka_unavailable(self._settings, error)

    def _close(self) -> None:
        for partition in self._partitions.values():
            self._forget(partition)
        # A static member does not leave the group (KIP-345): started again within the session it
        # has its partitions back without a rebalance.
        self._consumer.close()
