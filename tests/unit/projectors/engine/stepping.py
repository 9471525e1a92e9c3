"""Projector processes that a test steps over an in-memory log, and their read model."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import count
from typing import cast

from confluent_kafka import Consumer, TopicPartition

from projectors.engine.runner import CHECK_SECONDS, Runner
from projectors.engine.subscription import Subscription
from projectors.log.records import Record
from projectors.promises.events import user_event
from runtime.process import Backoff, StopSignal
from runtime.settings import Settings
from runtime.topics.log_ranges import LogRange
from schemas.identity import partition_of, user_shard
from schemas.topics import EVENTS
from tests.samples.codecs import codec
from tests.unit.producers.handler.in_memory.consumer import MemoryConsumer
from tests.unit.producers.handler.in_memory.group import MemoryGroup
from tests.unit.producers.handler.in_memory.log import MemoryLog
from tests.unit.projectors.engine.test_applier import Memory

PARTITIONS = 4
USERS = 40
MAX_STEPS = 200
STEPS_PER_CHECK = 4  # of the store, by a clock that counts its readings


CODEC = codec(EVENTS.schema)


class MemberConsumer(MemoryConsumer):
    """A consumer that also commits offsets, for lag tools."""

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert isinstance(asynchronous, bool)
        committed = self._log.committed[self._group.name]
        committed.update({(one.topic, one.partition): one.offset for one in offsets})


class World:
    """An in-memory topic of events with one consumer group, and a read model in memory."""

    def __init__(self) -> None:
        self.settings = Settings(partitions=PARTITIONS, dead_letters_in_a_row=3)
        self.topic = self.settings.named(EVENTS.name)
        self.log = MemoryLog({self.topic: PARTITIONS})
        self.group = MemoryGroup(self.log, "projector", PARTITIONS)
        self.model = Memory()
        self.topic_id = "topic"
        self.letters: list[tuple[int, int]] = []

    def member(
        self,
        name: str = "one",
        model: Memory | None = None,
        new_runner: Callable[..., Runner] = Runner,
    ) -> "Member":
        """Return a new process of the group."""
        return Member(self, name, model or self.model, new_runner)

    def users(self, first: int, count: int, version: int = 1, name: str = "Jane") -> None:
        """Append an event of each of these users."""
        for number in range(first, first + count):
            event = user_event(number, version, name=name)
            self.append(CODEC.encode(event), event["user_id"])

    def append(self, value: bytes, user_id: str, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Append a record to the partition of a user, followed by a transaction's marker."""
        partition = partition_of(user_shard(user_id), PARTITIONS)
        self.log.append(self.topic, partition, user_id.encode(), value, headers)

    def look_up(self, partitions: Collection[int]) -> tuple[str, dict[int, LogRange]]:
        logs = {p: self.log.partitions[self.topic, p] for p in partitions}
        return self.topic_id, {p: LogRange(log.low, log.stable_end) for p, log in logs.items()}

    def is_caught_up(self) -> bool:
        """Return whether the checkpoint is at the end of every partition."""
        _, ranges = self.look_up(range(PARTITIONS))
        reached = {p: position.next_offset for p, position in self.model.positions.items()}
        return all(reached.get(p, 0) == found.end for p, found in ranges.items())


class Member:
    """One projector process."""

    def __init__(
        self, world: World, name: str, model: Memory, new_runner: Callable[..., Runner]
    ) -> None:
        self.stopping = StopSignal()
        self.is_paused: Callable[[], bool] = lambda: False
        self.consumer = MemberConsumer(world.group, name, reports_ends=True)
        self.subscription = Subscription(
            world.settings, EVENTS, cast("Consumer", self.consumer), world.look_up
        )
        self.runner = new_runner(
            world.settings,
            model,
            self.subscription,
            decode=CODEC.decode,
            write_letters=lambda records: world.letters.extend(map(_place, records)),
            stopping=self.stopping,
            is_paused=lambda: self.is_paused(),  # noqa: PLW0108 - tests replace it later
            new_backoff=lambda: Backoff(0.001, 0.001),
            clock=partial(next, count(step=CHECK_SECONDS / STEPS_PER_CHECK)),
        )
        self.subscription.join()

    def step(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.runner.run_once()


def _place(record: Record) -> tuple[int, int]:
    return record.partition, record.offset


def until_caught_up(world: World, *members: Member) -> None:
    """Step the members in turn until the read model has applied the whole log."""
    for _ in range(MAX_STEPS):
        for member in members:
            member.step()
        if world.is_caught_up():
            return
    raise AssertionError(world.model.positions)


def stored(world: World) -> dict[str, int]:
    """Return user id → version in the read model."""
    return dict(world.model.users)


def expected(first: int, count: int, version: int = 1) -> dict[str, int]:
    return {user_event(n)["user_id"]: version for n in range(first, first + count)}
