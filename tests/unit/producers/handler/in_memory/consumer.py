"""Consumers of the in-memory log."""

from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import (
    OFFSET_END,
    OFFSET_INVALID,
    KafkaError,
    Message,
    TopicPartition,
)

from tests.unit.producers.handler.in_memory.group import Member, MemoryGroup, Metadata
from tests.unit.producers.handler.in_memory.log import failure
from tests.unit.producers.handler.in_memory.partition import Place

RebalanceCallback = Callable[[Any, list[TopicPartition]], None]
Callbacks = tuple[RebalanceCallback, RebalanceCallback, RebalanceCallback]


class MemoryConsumer:
    """A consumer, of a group once it subscribes; without `committed_only` for watermarks alone."""

    def __init__(
        self,
        group: MemoryGroup,
        identity: str = "reader",
        *,
        committed_only: bool = True,
        reports_ends: bool = False,
    ) -> None:
        self._group = group
        self._log = group.log
        self._identity = identity
        self._committed_only = committed_only
        self._reports_ends = reports_ends
        self._callbacks: Callbacks | None = None
        self._topic = ""
        self._member: Member | None = None
        self._generation = -1
        self._is_fenced = False
        self._owned: set[int] = set()
        self._positions: dict[Place, int] = {}
        self._paused: set[Place] = set()
        self._reported_ends: dict[Place, int] = {}
        # librdkafka reads a place whose offset is out of range only once it is assigned again.
        self._stopped: set[Place] = set()
        self._turn: deque[Place] = deque()
        self.queued: deque[Message] = deque()

    # -- the group

    def subscribe(
        self,
        topics: list[str],
        on_assign: RebalanceCallback,
        on_revoke: RebalanceCallback,
        on_lost: RebalanceCallback,
    ) -> None:
        """Join the group at the next poll."""
        [self._topic] = topics
        self._callbacks = on_assign, on_revoke, on_lost

    def memberid(self) -> str:
        """Return the member id, empty while the group does not know this member."""
        return self._member.member_id if self._member else ""

    def consumer_group_metadata(self) -> Metadata:
        """Return this member's id and the generation that its last poll saw."""
        return Metadata(self._group.name, self._identity, self.memberid(), self._generation)

    def _serve_group(self) -> None:
        if self._callbacks is None or self._is_fenced:
            return
        _, _, on_lost = self._callbacks
        known = self._group.members.get(self._identity)
        if self._member is None:
            self._member = self._group.join(self._identity)
        elif known is None:
            lost, self._owned, self._member = self._owned, set(), None
            on_lost(self, self._places(lost))
            return
        elif known is not self._member:
            self._is_fenced = True
            self.queued.append(Message(error=KafkaError(KafkaError._FATAL, "in memory")))
            return
        if self._generation >= 0:
            # A member joins the next rebalance with what the last one gave it.
            self._take_assignment(self._member)
        self._group.heartbeat(self._member, self._owned)
        self._take_assignment(self._member)

    def _take_assignment(self, member: Member) -> None:
        """Own what the group has assigned; what it has not is given up first."""
        if self._callbacks is None:
            return
        on_assign, on_revoke, _ = self._callbacks
        if self._generation == self._group.generation and self._owned == member.assigned:
            return
        self._generation = self._group.generation
        revoked = self._owned - member.assigned
        assigned = member.assigned - self._owned
        if revoked:
            self._owned -= revoked
            on_revoke(self, self._places(revoked))
            self._group.rebalance()
        else:
            self._owned |= assigned
            on_assign(self, self._places(assigned))

    def _places(self, numbers: set[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in sorted(numbers)]

    def close(self) -> None:
        """Stop reading; a static member stays in the group until its session ends."""
        if self._callbacks is not None and self._owned and not self._is_fenced:
            _, on_revoke, _ = self._callbacks
            on_revoke(self, self._places(self._owned))
        self._callbacks, self._owned, self._positions = None, set(), {}

    # -- which places are read, and from where

    def assign(self, partitions: list[TopicPartition], /) -> None:
        self._positions = {}
        self.incremental_assign(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self._positions |= {(one.topic, one.partition): one.offset for one in partitions}
        self._stopped -= {(one.topic, one.partition) for one in partitions}
        self._turn = deque(self._positions)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            del self._positions[one.topic, one.partition]
            self._paused.discard((one.topic, one.partition))
        self._turn = deque(self._positions)

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in self._positions]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self._paused |= {self._assigned(one) for one in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._paused -= {self._assigned(one) for one in partitions}

    def seek(self, partition: TopicPartition) -> None:
        place = self._assigned(partition)
        if place in self._stopped:
            raise failure(KafkaError._STATE)
        self._positions[place] = partition.offset

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Return the offset after the last message that was returned."""
        return [TopicPartition(*(at := self._assigned(o)), self._positions[at]) for o in partitions]

    def _assigned(self, partition: TopicPartition) -> Place:
        place = (partition.topic, partition.partition)
        if place not in self._positions:
            raise failure(KafkaError._STATE)
        return place

    # -- messages and offsets

    def poll(self, _timeout: float = 0, /) -> Message | None:
        """Serve the group, then return the next message, in turn from each place."""
        self._log.begin("poll")
        self._serve_group()
        if self.queued:
            return self.queued.popleft()
        for _ in range(len(self._turn)):
            place = self._turn[0]
            self._turn.rotate(-1)
            message = None if place in self._paused else self._next(place)
            if message is not None:
                return message
        return None

    def consume(self, num_messages: int, _timeout: float = 0, /) -> list[Message]:
        """Return the messages of at most `num_messages` polls, until one returns none."""
        found: list[Message] = []
        while len(found) < num_messages and (message := self.poll()) is not None:
            found.append(message)
        return found

    def _next(self, place: Place) -> Message | None:
        log, position = self._log.partitions[place], self._positions[place]
        if place in self._stopped:
            return None
        if not log.low <= position <= log.end:
            self._stopped.add(place)
            return _event(place, position, KafkaError._AUTO_OFFSET_RESET)
        offset = (log.next_visible if self._committed_only else log.next_record)(position)
        end = self._shown(place, log.stable_end)
        if offset is not None and offset < end:
            self._positions[place] = offset + 1
            return self.message(place, offset)
        self._positions[place] = end
        if self._reports_ends and self._reported_ends.get(place) != end:
            self._reported_ends[place] = end
            return _event(place, end, KafkaError._PARTITION_EOF)
        return None

    def _shown(self, place: Place, end: int) -> int:
        """Return the end that the broker shows which this consumer asks."""
        is_member = self._callbacks is not None
        return end if is_member else min(end, self._log.ends_when_cut_off.get(place, end))

    def message(self, place: Place, offset: int) -> Message:
        """Return the message at an offset; a test may put it into `queued`, as a stale one."""
        entry = self._log.partitions[place].entries[offset]
        return Message(
            *place,
            offset,
            entry.key,
            entry.value,
            headers=list(entry.headers),
            timestamp=(1, entry.at_ms),
        )

    def committed(
        self,
        partitions: list[TopicPartition],
        timeout: float = 0,  # noqa: ARG002 - a keyword of confluent_kafka
    ) -> list[TopicPartition]:
        """Return the group's offsets; it times out while a transaction that sets one is open."""
        places = [(one.topic, one.partition) for one in partitions]
        if any(self._log.is_offset_pending(self._group.name, place) for place in places):
            raise failure(KafkaError._TIMED_OUT)
        offsets = self._log.committed[self._group.name]
        return [TopicPartition(*place, offsets.get(place, OFFSET_INVALID)) for place in places]

    def get_watermark_offsets(
        self,
        partition: TopicPartition,
        timeout: float = 0,  # noqa: ARG002 - a keyword of confluent_kafka
        cached: bool = False,  # noqa: ARG002, FBT001, FBT002 - the same
    ) -> tuple[int, int]:
        """Return the first offset and the end: the stable one for a reader of committed records."""
        log = self._log.partitions[partition.topic, partition.partition]
        end = log.stable_end if self._committed_only else log.end
        return log.low, self._shown((partition.topic, partition.partition), end)

    def offsets_for_times(
        self,
        partitions: list[TopicPartition],
        timeout: float = 0,  # noqa: ARG002 - a keyword of confluent_kafka
    ) -> list[TopicPartition]:
        """Return the first offset that is not older than each time; -1 if there is none."""
        places = [(one.topic, one.partition) for one in partitions]
        found = [
            self._log.partitions[place].first_since(one.offset)
            for place, one in zip(places, partitions, strict=True)
        ]
        return [
            TopicPartition(*place, OFFSET_END if offset is None else offset)
            for place, offset in zip(places, found, strict=True)
        ]

    def list_topics(self, topic: str, /, timeout: float = 0) -> None:
        """Do nothing: every topic is known."""


def _event(place: Place, offset: int, code: int) -> Message:
    return Message(place[0], place[1], offset, error=KafkaError(code, "in memory"))
