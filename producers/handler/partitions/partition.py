"""The life cycle of one partition that the group has assigned to this handler.

```
assigned ──► restoring ──► deciding ──► revoked
    ▲            │             │
    ├────────────┴─── restart ─┤          (it can be revoked in every phase)
    └──────── stopped ◄────────┘          (from restoring as well; restarted after a while)
```

Only the methods here change the phase. While a partition is not deciding, its inputs are paused.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from producers.domain.state import PartitionState
from producers.handler.partitions.positions import Inputs, first_message, first_offsets
from producers.handler.partitions.restore import Restore
from runtime.memory import release_free_memory
from schemas.errors import Forbidden, Misconfigured, Unavailable
from schemas.positions import Position

log = logging.getLogger(__name__)

_COMMITTED_SECONDS = 0.5
_WATERMARK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Assigned:
    """Nothing is known about the partition yet."""


@dataclass(frozen=True, slots=True)
class Restoring:
    """Its state is being read from the log; `committed` maps topic → offset, negative for none."""

    committed: Mapping[str, int]
    restore: Restore


@dataclass(frozen=True, slots=True)
class Deciding:
    """Its commands are decided, on `state`.

    `next_offsets` maps each input topic to its first message that is not decided: the commands and
    the address messages of a partition are one input. `resend_grants` is true until the grants that
    a predecessor left open have been resent. `recorded` is the latest position on the log, and
    `committed_at` when offsets were last committed, in seconds of the monotonic clock. The restore
    took `restored_in` seconds.
    """

    state: PartitionState
    next_offsets: Mapping[str, int]
    resend_grants: bool
    recorded: Position | None
    committed_at: float
    restored_in: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """Deciding it could break a promise: `error` says why. The other partitions continue.

    `since` is when it stopped, in seconds of the monotonic clock.
    """

    error: Misconfigured
    since: float


@dataclass(frozen=True, slots=True)
class Revoked:
    """Another process decides it from here on."""


Phase = Assigned | Restoring | Deciding | Stopped | Revoked


class OwnedPartition:
    """One assigned partition; other code only reads `phase`."""

    def __init__(
        self,
        number: int,
        inputs: Inputs,
        consumer: Consumer,
        open_restore: Callable[[int], Restore],
        open_reader: Callable[[], Consumer],
    ) -> None:
        self.number = number
        self.phase: Phase = Assigned()
        self._inputs = inputs
        self._consumer = consumer
        self._open_restore = open_restore
        self._open_reader = open_reader
        # The inputs of which a message was taken since the last rewind.
        self._followed: set[str] = set()

    def restore_step(self) -> None:
        """Take one short step towards deciding; does nothing once it decides.

        Raises KafkaException if the broker fails or a predecessor's transaction is still open
        (then `restart` and try again), `Misconfigured` if deciding would repeat decisions.
        """
        if isinstance(self.phase, Assigned):
            committed = self._committed()
            self.phase = Restoring(committed, self._open_restore(self.number))
        if isinstance(self.phase, Restoring):
            state = self.phase.restore.step()
            if state is not None:
                self._begin_deciding(state, self.phase.committed, self.phase.restore)

    def _committed(self) -> dict[str, int]:
        """Return the committed offsets by topic, negative where there is none.

        Times out while a predecessor's transaction is open (KIP-447).
        """
        places = self._inputs.places(self.number)
        committed = self._consumer.committed(places, timeout=_COMMITTED_SECONDS)
        for place in committed:
            if place.error:
                raise KafkaException(place.error)
        return {place.topic: int(place.offset) for place in committed}

    def _begin_deciding(
        self, state: PartitionState, committed: Mapping[str, int], restore: Restore
    ) -> None:
        recorded = restore.recorded
        places = self._inputs.places(self.number)
        bounds = {
            place.topic: self._consumer.get_watermark_offsets(place, timeout=_WATERMARK_SECONDS)
            for place in places
        }
        next_offsets = first_offsets(self._inputs, state, committed, recorded, bounds)
        self._close_restore()
        # Offsets that the group has lost are committed again at once.
        was_recovered = recorded is not None and committed != next_offsets
        committed_at = -math.inf if was_recovered else time.monotonic()
        is_open = bool(state.open_grants)
        self.phase = Deciding(state, next_offsets, is_open, recorded, committed_at, restore.seconds)
        self.rewind()
        self._consumer.resume(places)

    def committed(self, next_offsets: Mapping[str, int], recorded: Position | None) -> None:
        """Note that everything before `next_offsets` is decided and committed.

        `recorded` is the position that the log has now.
        """
        self.phase = replace(
            self._deciding(),
            next_offsets=next_offsets,
            resend_grants=False,
            recorded=recorded,
            committed_at=time.monotonic(),
        )

    def rewind(self) -> None:
        """Read both inputs again from the first undecided messages.

        Messages from before may still be delivered first (confluent-kafka-python#1013).
        """
        for topic in self._deciding().next_offsets:
            self.read_again(topic)

    def read_again(self, topic: str) -> None:
        """Read one input again from its first undecided message.

        librdkafka stops reading a partition whose offset is out of range, as 0 may be, where it was
        assigned: retention deletes the beginning of a topic. Then only assigning it again helps.
        """
        self._followed.discard(topic)
        place = TopicPartition(topic, self.number, self._deciding().next_offsets[topic])
        try:
            self._consumer.seek(place)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:  # noqa: SLF001 - a public name
                raise
            self._consumer.incremental_unassign([place])
            self._consumer.incremental_assign([place])

    def follow(self, topic: str) -> None:
        """Note that a message of this input was taken: those delivered later are behind it."""
        self._followed.add(topic)

    def has_followed(self, topic: str) -> bool:
        """Return whether a message of this input was taken since the last rewind.

        After that, a gap among address messages is in the log: every transaction of a handler
        leaves one, its marker.
        """
        return topic in self._followed

    def is_next(self, topic: str, expected: int, offset: int) -> bool:
        """Return whether the log has no message from `expected` to the one at `offset`.

        A gap is legal: retention, markers, or a client's aborted transactions. Skipping a message
        is not, so the log is asked: the one at `offset` may have been fetched before a seek. False
        if brokers do not answer. Blocks for a moment, or until a request times out (10 s).
        """
        place = TopicPartition(topic, self.number, expected)
        try:
            return first_message(self._open_reader, place) == offset
        except (KafkaException, Unavailable, Forbidden):
            return False

    def restart(self) -> None:
        """Forget what was restored or decided and restore it again."""
        self._close_restore()
        self._consumer.pause(self._inputs.places(self.number))
        self.phase = Assigned()

    def stop(self, error: Misconfigured) -> None:
        """Do not decide it because of `error`, which may be resolved while the others continue."""
        log.error(
            "partition %d is not decided: %s (%s)",
            *(self.number, error, error.next_step),
            extra={"partition": self.number},
        )
        self.restart()
        self.phase = Stopped(error, time.monotonic())

    def revoke(self) -> None:
        """Forget the partition. Idempotent."""
        self._close_restore()
        self.phase = Revoked()

    def _deciding(self) -> Deciding:
        if not isinstance(self.phase, Deciding):
            raise TypeError(f"partition {self.number} is not deciding")
        return self.phase

    def _close_restore(self) -> None:
        if isinstance(self.phase, Restoring):
            self.phase.restore.close()
            release_free_memory()
