"""Which partitions this handler decides, and from where: assignment, restore, position.

A partition is taken over paused, restored in the main loop while the others go on, and read from
its committed offset. When it goes to another process its state is forgotten at once.
"""

import logging
from dataclasses import dataclass
from itertools import count

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from producers.group import GROUP, client_id, refuse_twin
from producers.restore import Restore
from producers.state import PartitionState
from runtime.kafka import arrived, consumer_config
from runtime.process import Backoff, StopSignal, until_available
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import Misconfigured
from schemas.topics import COMMANDS, EVENTS, OUTCOMES

log = logging.getLogger(__name__)

_COMMITTED_SECONDS = 0.5
_TRY_SECONDS = 5.0
# The member is dead, however long it is asked.
_DROPPED = {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID}  # noqa: SLF001 - a public name
# No offset is as large: nothing more is taken of a partition that was sent back.
_NEVER = 1 << 63


@dataclass(slots=True)
class Owned:
    """One assigned partition: restoring while `state` is None, then deciding from `next_offset`."""

    number: int
    next_offset: int | None = None
    restore: Restore | None = None
    state: PartitionState | None = None
    # A gap seen once may be a stale message after a seek; seen again it is the log's own.
    gap: tuple[int, int] | None = None

    def forget(self) -> None:
        """Let go of what the restore holds."""
        if self.restore:
            self.restore.close()


class Ownership:
    """The consumer of commands and the partitions it was given.

    Callbacks of the group run inside `take` only, so ownership never changes during a transaction.
    """

    def __init__(
        self, settings: Settings, registry: Registry, identity: str, stop: StopSignal
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._stop = stop
        self._events = registry.codec(EVENTS.schema)
        self._outcomes = registry.codec(OUTCOMES.schema)
        self._turn = count()
        self._backoff = Backoff()
        self.topic = settings.named(COMMANDS.name)
        self.partitions: dict[int, Owned] = {}
        self.consumer = self._join()

    def _join(self) -> Consumer:
        """Return a new member of the group."""
        consumer = Consumer(
            consumer_config(self._settings, self._settings.named(GROUP))
            | {
                "group.instance.id": self._identity,
                "client.id": client_id(),
                # Not KIP-848's protocol: there a killed static member blocks its own return until
                # its session ends.
                "group.protocol": "classic",
                "session.timeout.ms": int(self._settings.session_timeout_seconds * 1000),
                "heartbeat.interval.ms": int(self._settings.session_timeout_seconds * 1000 / 4),
                # Only what moves is restored anew; the other partitions go on deciding.
                "partition.assignment.strategy": "cooperative-sticky",
            }
        )
        consumer.subscribe(
            [self.topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        return consumer

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take partitions over, paused: they are restored by and by in the main loop.

        The offset is a number that is never read from. A logical one would be looked up, and
        librdkafka repeats a look-up that a pause made outdated half a second later, when `_begin`
        has long moved the partition: it then jumps to the end, over commands that just arrived.
        """
        taken = [TopicPartition(tp.topic, tp.partition, 0) for tp in partitions]
        consumer.incremental_assign(taken)
        if taken:
            consumer.pause(taken)
            log.info("assigned partitions %s", sorted(tp.partition for tp in taken))
        for tp in taken:
            self.partitions[tp.partition] = Owned(tp.partition)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Forget partitions: another process decides them from here on."""
        for tp in partitions:
            owned = self.partitions.pop(tp.partition, None)
            if owned:
                owned.forget()
        consumer.incremental_unassign(partitions)
        if partitions:
            log.info("gave up partitions %s", sorted(tp.partition for tp in partitions))

    def begin_anew(self) -> None:
        """Forget every state and read all of it from the log again."""
        self.consumer.pause([TopicPartition(self.topic, number) for number in self.partitions])
        for number, owned in list(self.partitions.items()):
            owned.forget()
            self.partitions[number] = Owned(number)

    def restore_step(self) -> bool:
        """Restore one step of one partition; True while any is not ready."""
        waiting = [owned for owned in self.partitions.values() if owned.state is None]
        if not waiting:
            return False
        # In turn: one that waits for a predecessor's transaction does not hold up the others.
        owned = waiting[next(self._turn) % len(waiting)]
        try:
            if owned.next_offset is None:
                owned.next_offset = self._committed(owned.number)
            if owned.restore is None:
                owned.restore = Restore(self._settings, owned.number, self._events, self._outcomes)
            state = owned.restore.step()
            if state is not None:
                self._begin(owned, state)
        except KafkaException as error:
            log.warning("restoring partition %d: %s", owned.number, error.args[0].str())
            owned.forget()
            owned.restore, owned.state = None, None
            self._stop.wait(self._backoff.next_seconds())
        return True

    def _committed(self, number: int) -> int:
        """Return the committed offset, negative if there is none.

        Waits while a predecessor's transaction is open (KIP-447).
        """
        tp = TopicPartition(self.topic, number)
        [committed] = self.consumer.committed([tp], timeout=_COMMITTED_SECONDS)
        if committed.error:
            raise KafkaException(committed.error)
        return int(committed.offset)

    def _begin(self, owned: Owned, state: PartitionState) -> None:
        """Start deciding at the committed offset, which must agree with the outcomes."""
        tp = TopicPartition(self.topic, owned.number)
        low, _ = self.consumer.get_watermark_offsets(tp, timeout=_TRY_SECONDS)
        decided = state.window.last_offset
        offset = -1 if owned.next_offset is None else owned.next_offset
        if offset < 0 and decided < 0 and not state.users:
            offset = low  # nothing was ever decided here
        if offset < 0 or offset <= decided:
            raise Misconfigured(
                f"group {self._settings.named(GROUP)} has no right offset for partition "
                f"{owned.number}: commands up to {decided} are decided",
                code="lost_offsets",
                next_step=f"set it to {decided + 1} with Kafka's kafka-consumer-groups tool",
            )
        if offset < low:
            log.error(
                "commands %d to %d of partition %d were deleted by retention before any decision",
                offset,
                low - 1,
                owned.number,
            )
        owned.next_offset = max(offset, low)
        owned.forget()
        owned.restore, owned.state = None, state
        self.rewind(owned.number)
        self.consumer.resume([tp])
        self._backoff.reset()

    def rewind(self, number: int) -> None:
        """Read on from the first command that is not decided."""
        offset = self.partitions[number].next_offset or 0
        self.consumer.seek(TopicPartition(self.topic, number, offset))

    def take(self, most: int, wait_seconds: float) -> list[Message]:
        """Return commands that have arrived and are ours to decide, in the log's order.

        A message that does not follow its predecessor is left: delivered twice after a seek
        (confluent-kafka-python#1013, #1443), or ahead of one that must come first.
        """
        taken: list[Message] = []
        wanted: dict[int, int] = {}
        for message in arrived(self.consumer, most, wait_seconds):
            owned = self.partitions.get(message.partition() or 0)
            error = message.error()
            if error is not None:
                self._check(error, owned)
                continue
            if owned is None or owned.state is None or owned.next_offset is None:
                continue
            offset = message.offset() or 0
            next_offset = wanted.get(owned.number, owned.next_offset)
            if offset > next_offset and next_offset != _NEVER and not self._is_gap(owned, offset):
                wanted[owned.number] = _NEVER
                continue
            if offset >= next_offset:
                wanted[owned.number] = offset + 1
                taken.append(message)
        return taken

    def _is_gap(self, owned: Owned, offset: int) -> bool:
        """Return whether the log itself jumps to `offset`; at first sight go back and look again.

        A gap is legal: retention, or transactions of a client. A skipped command is not.
        """
        gap = (owned.next_offset or 0, offset)
        if owned.gap == gap:
            return True
        owned.gap = gap
        self.rewind(owned.number)
        return False

    def _check(self, error: KafkaError, owned: Owned | None) -> None:
        """Mend or stop for errors of the consumer that waiting does not cure."""
        if error.fatal() or error.code() in _DROPPED:
            self._join_again(error)
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET and owned and owned.state:  # noqa: SLF001
            raise Misconfigured(
                f"offset {owned.next_offset} of {self.topic} partition {owned.number} is gone",
                code="lost_offsets",
                next_step="was the topic created anew? the handler's group must start anew with it",
            )
        log.warning("reading commands: %s", error.str())

    def _join_again(self, error: KafkaError) -> None:
        """Become a member anew: librdkafka gives up for good on one that its group has fenced.

        After a long outage the broker may take a static member's own return for a twin's. A real
        twin is found as at the start, by `refuse_twin`.
        """
        log.warning("the group dropped us, joining it again: %s", error.str())
        for owned in self.partitions.values():
            owned.forget()
        self.partitions.clear()
        self.consumer.close()
        until_available(self._stop, lambda: refuse_twin(self._settings, self._identity, self._stop))
        self.consumer = self._join()

    def close(self) -> None:
        """Stop reading. Back within its session, a static member has its partitions at once."""
        for owned in self.partitions.values():
            owned.forget()
        self.consumer.close()
