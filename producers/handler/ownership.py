"""Which partitions this handler decides, and from where: assignment, restore, position.

A partition is taken over paused, restored in the main loop while the others go on, and read from
its committed offset. When it goes to another process its state is forgotten at once.
"""

import logging
from itertools import count

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from producers.domain.state import PartitionState
from producers.handler.group import GROUP, client_id, refuse_twin
from producers.handler.owned import Owned, first_offsets
from producers.handler.restore import Restore
from runtime.kafka import consumer_config, poll_batch
from runtime.process import Backoff, StopSignal, until_available
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import Misconfigured
from schemas.topics import COMMANDS, EMAILS, EVENTS, HOPS, OUTCOMES

log = logging.getLogger(__name__)

_COMMITTED_SECONDS = 0.5
_TRY_SECONDS = 5.0
_CHUNK_MESSAGES = 1_000
# The member is dead, however long it is asked.
_DROPPED = {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID}  # noqa: SLF001 - a public name
# No offset is as large: nothing more is taken of a partition that was sent back.
_NEVER = 1 << 63


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
        self._claims = registry.codec(EMAILS.schema)
        self._turn = count()
        # Short: the partitions that are ready wait along, and what is waited for is most often a
        # predecessor's transaction, whose end must not be slept through.
        self._backoff = Backoff(most_seconds=1.0)
        self.topic = settings.named(COMMANDS.name)
        self.hops_topic = settings.named(HOPS.name)
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
        numbers = sorted(tp.partition for tp in partitions)
        taken = [place for number in numbers for place in self._places(number)]
        consumer.incremental_assign(taken)
        if taken:
            consumer.pause(taken)
            log.info("assigned partitions %s", numbers)
        for number in numbers:
            self.partitions[number] = Owned(number)

    def _places(self, number: int) -> list[TopicPartition]:
        """Return the two inputs of a partition.

        The group shares out the commands only: no assignor promises that the same numbers of two
        topics go to one member. The hops are read along with them.
        """
        return [TopicPartition(topic, number, 0) for topic in (self.topic, self.hops_topic)]

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Forget partitions: another process decides them from here on."""
        for tp in partitions:
            owned = self.partitions.pop(tp.partition, None)
            if owned:
                owned.forget()
        numbers = sorted(tp.partition for tp in partitions)
        consumer.incremental_unassign([place for n in numbers for place in self._places(n)])
        if numbers:
            log.info("gave up partitions %s", numbers)

    def begin_anew(self) -> None:
        """Forget every state and read all of it from the log again."""
        self.consumer.pause([place for n in self.partitions for place in self._places(n)])
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
            if not owned.next_offsets:
                owned.next_offsets = self._committed(owned.number)
            if owned.restore is None:
                owned.restore = Restore(
                    self._settings, owned.number, self._events, self._outcomes, self._claims
                )
            state = owned.restore.step()
            if state is not None:
                self._begin(owned, state)
        except KafkaException as error:
            log.warning("restoring partition %d: %s", owned.number, error.args[0].str())
            owned.forget()
            owned.restore, owned.state = None, None
            self._stop.wait(self._backoff.next_seconds())
        return True

    def _committed(self, number: int) -> dict[str, int]:
        """Return the committed offsets by topic, negative where there is none.

        Waits while a predecessor's transaction is open (KIP-447).
        """
        committed = self.consumer.committed(self._places(number), timeout=_COMMITTED_SECONDS)
        for place in committed:
            if place.error:
                raise KafkaException(place.error)
        return {place.topic: int(place.offset) for place in committed}

    def _begin(self, owned: Owned, state: PartitionState) -> None:
        """Start deciding at the committed offsets, which must agree with the outcomes."""
        lows = {
            place.topic: self.consumer.get_watermark_offsets(place, timeout=_TRY_SECONDS)[0]
            for place in self._places(owned.number)
        }
        group = self._settings.named(GROUP)
        owned.next_offsets = first_offsets(owned, state, lows, self.topic, group)
        owned.forget()
        owned.restore, owned.state = None, state
        self.rewind(owned.number)
        self.consumer.resume(self._places(owned.number))
        self._backoff.reset()

    def rewind(self, number: int) -> None:
        """Read on from the first commands and hops that are not decided."""
        for topic, offset in self.partitions[number].next_offsets.items():
            self.consumer.seek(TopicPartition(topic, number, offset))

    def take(self, most: int, most_bytes: int, wait_seconds: float) -> list[Message]:
        """Return commands and hops that have arrived and are ours to decide, in the log's order.

        At most `most`, and no more once they are `most_bytes`; waits only for the first. A message
        that does not follow its predecessor is left: delivered twice after a seek
        (confluent-kafka-python#1013, #1443), or ahead of one that must come first.
        """
        taken: list[tuple[Owned, Message]] = []
        wanted: dict[tuple[str, int], int] = {}
        room, room_bytes = most, most_bytes
        while room > 0 and room_bytes > 0:
            chunk = poll_batch(self.consumer, min(room, _CHUNK_MESSAGES), wait_seconds)
            if not chunk:
                break
            room, wait_seconds = room - len(chunk), 0.0
            room_bytes -= sum(map(len, chunk))
            for message in chunk:
                owned = self._follows(message, wanted)
                if owned is not None:
                    taken.append((owned, message))
            if _NEVER in wanted.values():
                break  # sent back: what comes now belongs to the next batch
        # A later chunk may have brought word that a partition is another's now.
        still_owned = self.partitions.get
        return [message for owned, message in taken if still_owned(owned.number) is owned]

    def _follows(self, message: Message, wanted: dict[tuple[str, int], int]) -> Owned | None:
        """Return the partition of `message` if it is the next one there, and move `wanted` on."""
        owned = self.partitions.get(message.partition() or 0)
        error = message.error()
        if error is not None:
            self._check(error, owned)
            return None
        if owned is None or owned.state is None:
            return None
        topic, offset = message.topic() or "", message.offset() or 0
        place = (topic, owned.number)
        next_offset = wanted.get(place)
        if next_offset is None:
            next_offset = owned.next_offsets[topic]
        if offset == next_offset:
            wanted[place] = offset + 1
            return owned
        if offset < next_offset:
            return None
        if topic == self.topic and not self._is_gap(owned, offset):
            wanted[place] = _NEVER
            return None
        wanted[place] = offset + 1
        return owned

    def _is_gap(self, owned: Owned, offset: int) -> bool:
        """Return whether the log itself jumps to `offset`; at first sight go back and look again.

        A gap among commands is legal: retention, or transactions of a client. A skipped command is
        not. (Among hops, the handlers' own transactions leave gaps all the time.)
        """
        gap = (owned.next_offsets[self.topic], offset)
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
                f"offsets {owned.next_offsets} of partition {owned.number} are gone",
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
