"""Which partitions this handler decides: its membership of the group, and each partition's phase.

A partition is taken over paused, restored in the main loop while the others continue deciding, and
read from its committed offset. When the group revokes it, its state is dropped at once.
"""

import logging
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from producers.handler.clients import Clients
from producers.handler.partitions.message_order import BatchInOrder
from producers.handler.partitions.meter import RESTORE, PartitionMeter
from producers.handler.partitions.partition import (
    Deciding,
    OwnedPartition,
    Phase,
    Restoring,
    Stopped,
)
from producers.handler.partitions.positions import Inputs, ends_past_markers, no_such_offsets
from producers.handler.partitions.restore import Restore
from producers.handler.partitions.unassigned import UnassignedPartitions
from runtime.kafka.clients import kafka_failure, poll_batch
from runtime.process import Backoff, Reminder, StopSignal, until_available
from runtime.settings import Settings
from schemas.errors import Forbidden, Misconfigured, Unavailable
from schemas.positions import Position
from schemas.topics import COMMANDS, HOPS

log = logging.getLogger(__name__)

_CHUNK_MESSAGES = 1_000
# Each has a consumer with a queue of up to 32 MiB.
MOST_RESTORES = 3
_STOPPED_SECONDS = 60.0
# The group will never accept this member again, however often it retries.
_DROPPED = {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID}  # noqa: SLF001 - a public name


class Ownership:
    """A member of the handlers' group and the partitions that are assigned to it.

    Rebalance callbacks run inside `poll_batch` only, so that ownership never changes while a
    batch is decided and committed.
    """

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        open_restore: Callable[[int], Restore],
        stop: StopSignal,
        meter: PartitionMeter,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._open_reader, self._open_restore = clients.committed_reader, open_restore
        self._stop, self._meter = stop, meter
        self._turn = count()
        # At most 1 s: the others wait too, most often until a predecessor's transaction has ended.
        self._backoff = Backoff(most_seconds=1.0)
        self._inputs = Inputs(
            settings.named(COMMANDS.name), settings.named(HOPS.name), clients.group
        )
        self._reminder = Reminder()
        self._partitions: dict[int, OwnedPartition] = {}
        self._unassigned = UnassignedPartitions(
            clients.unassigned, settings.session_timeout_seconds
        )
        self._consumer = self._join()

    def _join(self) -> Consumer:
        self._unassigned.joined()
        consumer = self._clients.group_consumer()
        consumer.subscribe(
            [self._inputs.commands],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        return consumer

    def _on_assign(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        """Take partitions over, paused: the main loop restores them step by step.

        The assigned offset is a number that is never read from. A logical offset would make
        librdkafka query the broker and, as the pause outdates that query, repeat it half a second
        later. By then the partition has been moved to its committed offset, and the late result
        would move it to the end, past commands that have just arrived.
        """
        numbers = sorted(tp.partition for tp in partitions)
        places = [place for number in numbers for place in self._inputs.places(number)]
        self._consumer.incremental_assign(places)
        if places:
            self._consumer.pause(places)
            log.info("assigned partitions %s", numbers)
        for number in numbers:
            self._partitions[number] = OwnedPartition(
                number, self._inputs, self._consumer, self._open_restore, self._open_reader
            )

    def _on_revoke(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        """Forget partitions, revoked or lost: another process decides them from here on."""
        numbers = sorted(tp.partition for tp in partitions)
        for number in numbers:
            partition = self._partitions.pop(number, None)
            if partition:
                partition.revoke()
        places = [place for number in numbers for place in self._inputs.places(number)]
        self._consumer.incremental_unassign(places)
        if numbers:
            log.info("gave up partitions %s", numbers)

    def restore_step(self) -> bool:
        """Restore one step of one partition; True while any is being restored.

        A partition that must not be decided is stopped alone, and restored again after a minute.
        Raises its `Misconfigured` if no other partition is left.
        """
        waiting = [one for one in self._partitions.values() if self._is_waiting(one)]
        if not waiting:
            self._require_one_to_decide()
            return False
        restoring = [one for one in waiting if isinstance(one.phase, Restoring)]
        if len(restoring) >= MOST_RESTORES:
            waiting = restoring
        # Round-robin: one that waits for a predecessor's transaction does not delay the others.
        partition = waiting[next(self._turn) % len(waiting)]
        try:
            partition.restore_step()
        except (KafkaException, Forbidden) as error:
            failure = error if isinstance(error, Forbidden) else self._clients.failure(error)
            self._retry_restore(partition, failure)
        except Misconfigured as error:
            partition.stop(error)
        else:
            self._meter.works(RESTORE)
            if isinstance(partition.phase, Deciding):
                self._backoff.reset()
                self._meter.restored(partition.phase.restored_in)
        return True

    def _retry_restore(self, partition: OwnedPartition, failure: Unavailable | Forbidden) -> None:
        of = {"partition": partition.number}
        log.warning("restoring partition %d: %s", partition.number, failure, extra=of)
        partition.restart()
        self._meter.lacks(failure, RESTORE)
        self._stop.wait(self._backoff.after(failure))

    def _is_waiting(self, partition: OwnedPartition) -> bool:
        """Return whether a partition is to be restored; restart it if it was stopped long ago."""
        phase = partition.phase
        if isinstance(phase, Stopped) and time.monotonic() - phase.since > _STOPPED_SECONDS:
            partition.restart()
        return not isinstance(partition.phase, Deciding | Stopped)

    def _require_one_to_decide(self) -> None:
        stopped = [one.phase for one in self._partitions.values() if isinstance(one.phase, Stopped)]
        if stopped and len(stopped) == len(self._partitions):
            raise stopped[0].error

    def phases(self) -> Mapping[int, Phase]:
        """Return the phase of each partition that is assigned to this handler."""
        return {number: partition.phase for number, partition in self._partitions.items()}

    def ready(self) -> Mapping[int, Deciding]:
        """Return the partitions that are decided now, each with its state and its next offsets."""
        return {
            number: partition.phase
            for number, partition in self._partitions.items()
            if isinstance(partition.phase, Deciding)
        }

    def membership(self) -> Any:
        """Return the group metadata to commit with; None if the group has dropped this member.

        It must be taken before deciding: a later one may already belong to a newer generation.
        """
        metadata = self._consumer.consumer_group_metadata()
        return metadata if self._consumer.memberid() else None

    def committed(
        self,
        next_offsets: Mapping[int, Mapping[str, int]],
        recorded: Mapping[int, Position | None],
    ) -> None:
        """Note how far partitions are decided and committed: number → topic → next offset.

        `recorded` has for each the position that is on the log.
        """
        for number, offsets in next_offsets.items():
            self._partitions[number].committed(offsets, recorded[number])

    def idle(self, seconds: float) -> dict[int, dict[str, int]]:
        """Return the next offsets of partitions without a commit for `seconds`, markers skipped.

        Those that are half as long without one are included, so that one transaction serves many.
        """
        now, ready = time.monotonic(), self.ready()
        ages = {number: now - one.committed_at for number, one in ready.items()}
        if max(ages.values(), default=-1.0) < seconds:
            return {}
        found = {n: dict(ready[n].next_offsets) for n, age in ages.items() if age >= seconds / 2}
        ends = ends_past_markers(self._consumer, self._open_reader, found)
        for (topic, number), end in ends.items():
            found[number][topic] = end
        return found

    def rewind(self, *numbers: int) -> None:
        """Read partitions again from their first undecided messages."""
        for number in numbers:
            self._partitions[number].rewind()

    def restore_all(self) -> None:
        """Forget every state and read it from the log again."""
        for partition in self._partitions.values():
            partition.restart()

    def poll_batch(self, most: int, most_bytes: int, wait_seconds: float) -> list[Message]:
        """Return the next commands and address messages of our partitions, in the log's order.

        Returns at most `most`, stops once they exceed `most_bytes`, and waits only for the first.
        What does not follow is left out: librdkafka may deliver messages from before a seek.
        """
        batch = BatchInOrder(self._inputs)
        room, room_bytes = most, most_bytes
        while room > 0 and room_bytes > 0:
            chunk = poll_batch(self._consumer, min(room, _CHUNK_MESSAGES), wait_seconds)
            if not chunk:
                break
            room, wait_seconds = room - len(chunk), 0.0
            room_bytes -= sum(map(len, chunk))
            for message in chunk:
                partition = self._partitions.get(message.partition() or 0)
                error = message.error()
                if error is not None:
                    self._on_error(error, partition, message.topic())
                elif partition is not None:
                    batch.offer(partition, message)
        batch.read_again()
        return batch.messages()

    def _on_error(
        self, error: KafkaError, partition: OwnedPartition | None, topic: str | None
    ) -> None:
        """Rejoin the group or stop the partition if waiting cannot resolve `error`, else log it."""
        if error.fatal() or error.code() in _DROPPED:
            self._rejoin(error)
            return
        is_gone = error.code() == KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - a public name
        if is_gone and partition and isinstance(partition.phase, Deciding):
            partition.stop(no_such_offsets(partition.number, partition.phase.next_offsets))
            return
        if topic is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            failure = kafka_failure(self._settings, KafkaException(error), f"Read on topic {topic}")
        else:
            failure = self._clients.failure(KafkaException(error))
        self._meter.cannot_read(failure)
        # librdkafka itself asks again about once a second for a group.
        if not isinstance(failure, Forbidden) or self._reminder.is_due(str(failure)):
            log.warning("reading commands: %s", failure)

    def _rejoin(self, error: KafkaError) -> None:
        """Join the group as a new member: librdkafka never rejoins one that was fenced.

        After a long outage the broker may mistake a returning static member for a second process
        with its identity. A real one is found as at start, by `require_unique_identity`.
        """
        self._meter.was_dropped()
        log.warning("the group dropped this member, joining again: %s", error.str())
        self._revoke_all()
        self._consumer.close()
        until_available(self._stop, lambda: self._clients.require_unique_identity(self._stop))
        self._consumer = self._join()

    def leave_if_unassigned(self) -> None:
        """Leave the group for a session if partitions are assigned to nobody because we returned.

        Waits for as long; all partitions of this handler move to others meanwhile.
        """
        if self._unassigned.must_leave():
            self._revoke_all()
            self._consumer.close()
            self._stop.wait(self._unassigned.leave_seconds)
            self._consumer = self._join()

    def _revoke_all(self) -> None:
        for partition in self._partitions.values():
            partition.revoke()
        self._partitions.clear()

    def close(self) -> None:
        """Stop reading. A static member back within its session gets the same partitions."""
        self._revoke_all()
        self._consumer.close()
