"""The consumer group in memory never lets two members own one partition."""

from random import Random

from confluent_kafka import TopicPartition

from tests.unit.producers.handler.in_memory.consumer import MemoryConsumer
from tests.unit.producers.handler.in_memory.group import MemoryGroup
from tests.unit.producers.handler.in_memory.log import MemoryLog


class Owner:
    """A member and the partitions that it was given."""

    def __init__(self, group: MemoryGroup, identity: str) -> None:
        self.owned: set[int] = set()
        self.consumer = MemoryConsumer(group, identity)
        self.consumer.subscribe(
            ["topic"], on_assign=self._take, on_revoke=self._give_up, on_lost=self._give_up
        )

    def _take(self, _consumer: object, places: list[TopicPartition]) -> None:
        self.owned |= {place.partition for place in places}

    def _give_up(self, _consumer: object, places: list[TopicPartition]) -> None:
        self.owned -= {place.partition for place in places}


def test_no_partition_has_two_owners_whenever_members_join_poll_and_leave() -> None:
    """As when a member's first poll after a rebalance was also its first in the next one."""
    for seed in range(300):
        chance = Random(seed)
        group = MemoryGroup(MemoryLog({"topic": 4}), "group", 4)
        members: dict[str, Owner] = {}
        for _ in range(40):
            identity = chance.choice("abc")
            if identity not in members:
                members[identity] = Owner(group, identity)
            elif identity in group.members and chance.random() < 0.1:
                group.expire(identity)
                del members[identity]
                continue
            members[identity].consumer.poll(0)
            owned = [number for one in members.values() for number in one.owned]
            assert len(owned) == len(set(owned)), seed


def test_in_the_end_every_partition_has_an_owner() -> None:
    group = MemoryGroup(MemoryLog({"topic": 4}), "group", 4)
    members = [Owner(group, identity) for identity in "abc"]
    for _ in range(10):
        for member in members:
            member.consumer.poll(0)
    assert sorted(number for one in members for number in one.owned) == [0, 1, 2, 3]
