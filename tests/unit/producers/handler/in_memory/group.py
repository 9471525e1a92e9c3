"""The consumer group of the in-memory log, which shares its partitions out among the members.

It works like Kafka's classic protocol with static members and the cooperative-sticky assignor. A
rebalance is complete once every member has polled. A partition that moves is first revoked from its
old owner, and assigned to the new one in the next rebalance.
"""

from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException

from tests.unit.producers.handler.in_memory.log import MemoryLog, failure


class Metadata(NamedTuple):
    """What a producer needs to commit offsets for a member of the group."""

    group: str
    identity: str
    member_id: str
    generation: int


@dataclass(eq=False)
class Member:
    """A member as the group's coordinator knows it; `owned` is what its last poll reported."""

    member_id: str
    has_joined: bool = False
    owned: set[int] = field(default_factory=set)
    assigned: set[int] = field(default_factory=set)


class MemoryGroup:
    """A consumer group that shares out the partitions of one topic."""

    def __init__(self, log: MemoryLog, name: str, partitions: int) -> None:
        self.log = log
        self.name = name
        self.generation = 0
        self.members: dict[str, Member] = {}
        self._partitions = partitions
        self._ids = count()
        self._is_rebalancing = False

    def join(self, identity: str) -> Member:
        """Add a member. With a known identity it replaces that member and keeps its partitions."""
        member = Member(f"{identity}-{next(self._ids)}")
        before = self.members.get(identity)
        self.members[identity] = member
        if before is None:
            self.rebalance()
        else:
            member.assigned = before.assigned
        return member

    def expire(self, identity: str) -> None:
        """Remove a member whose session has ended."""
        del self.members[identity]
        self.rebalance()

    def rebalance(self) -> None:
        """Begin a rebalance, which is complete once every member has polled."""
        self._is_rebalancing = True
        for member in self.members.values():
            member.has_joined = False

    def heartbeat(self, member: Member, owned: set[int]) -> None:
        """Note that a member polls, and what it owns."""
        member.owned, member.has_joined = set(owned), True
        if self._is_rebalancing and all(one.has_joined for one in self.members.values()):
            self._is_rebalancing = False
            self.generation += 1
            self._assign()

    def _assign(self) -> None:
        """Give every member its share; what another still owns must be revoked first."""
        members = [self.members[identity] for identity in sorted(self.members)]
        shares = {
            id(member): self._partitions // len(members) + (n < self._partitions % len(members))
            for n, member in enumerate(members)
        }
        free = set(range(self._partitions))
        for member in members:
            member.assigned = set(sorted(member.owned)[: shares[id(member)]])
            free -= member.assigned
        for member in members:
            missing = shares[id(member)] - len(member.assigned)
            extra = set(sorted(free)[:missing])
            free -= extra
            owned_elsewhere = {n for one in members if one is not member for n in one.owned}
            member.assigned |= extra - owned_elsewhere

    def unassigned(self) -> set[int] | None:
        """Return the partitions that no member is assigned; None during a rebalance."""
        if self._is_rebalancing:
            return None
        assigned = {number for member in self.members.values() for number in member.assigned}
        return set(range(self._partitions)) - assigned

    def refusal(self, metadata: Metadata) -> KafkaException | None:
        """Return why offsets of this member are refused, None if they are accepted."""
        member = self.members.get(metadata.identity)
        if member is None:
            return failure(KafkaError.UNKNOWN_MEMBER_ID, abortable=True)
        if member.member_id != metadata.member_id:
            return failure(KafkaError.FENCED_INSTANCE_ID, abortable=True)
        if metadata.generation != self.generation:
            return failure(KafkaError.ILLEGAL_GENERATION, abortable=True)
        return None
