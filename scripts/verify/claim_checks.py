"""Pure checks of addresses held across partitions: claims, users and hops must tell one story.

A change of address moves on while the topics are read one after the other, so one reading proves
nothing: what is wrong in every one of several readings is wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.identity import email_shard, partition_of, user_shard
from schemas.records import EmailClaim
from scripts.verify.facts import Entry, Last, text_hash
from scripts.verify.findings import Check

HELD = "held"


class Claim(NamedTuple):
    """A claim as the last record of its key says; the address is a hash and its shard."""

    partition: int
    key: str
    user_id: str
    is_held: bool
    address: int
    shard: int


class Suspect(NamedTuple):
    """Something wrong in one reading, under the promise that it breaks."""

    promise: str
    example: str


def fold_claims(entries: Iterable[Entry]) -> dict[str, Claim]:
    """Return the claims that stand in one partition of `user-emails`, by key."""
    claims: dict[str, Claim] = {}
    for entry in entries:
        key, record = entry.key or "", entry.record
        if record is not None:
            claims[key] = _claim(entry.partition, key, record)
        elif not entry.problem:
            claims.pop(key, None)
    return claims


def _claim(partition: int, key: str, record: EmailClaim) -> Claim:
    return Claim(
        partition,
        key,
        record["user_id"],
        record["status"] == HELD,
        text_hash(record["email_key"]),
        email_shard(record["email_key"]),
    )


@dataclass(slots=True)
class ClaimChecks:
    """Take `suspects` of several readings, then `finish` with all of them."""

    partitions: int
    reserved: Check = field(
        default_factory=lambda: Check(
            "claims: an address is reserved only while hops are under way"
        )
    )
    held: Check = field(
        default_factory=lambda: Check(
            "claims: each one held is of a live user with that address, who lives elsewhere"
        )
    )
    away: Check = field(
        default_factory=lambda: Check(
            "claims: each user living away from its address's home has its one claim there"
        )
    )

    def checks(self) -> list[Check]:
        """Return all of them in the order they are shown."""
        return [self.reserved, self.held, self.away]

    def suspects(
        self, claims: Sequence[Claim], users: Mapping[str, Last], moving: AbstractSet[str]
    ) -> set[Suspect]:
        """Return what is wrong in one reading; `moving` are users with hops under way."""
        found: set[Suspect] = set()
        holders: dict[tuple[int, int], Claim] = {}
        for claim in claims:
            where = f"partition {claim.partition} claim {claim.key}"
            last = users.get(claim.user_id)
            fits = last is not None and last.age is not None and last.email_key == claim.address
            place = (claim.partition, claim.address)
            other = holders.setdefault(place, claim)
            if not other.is_held:
                holders[place] = claim
            # One user may have reserved it by several changes, and hold it by one of them.
            if other is not claim and (
                other.user_id != claim.user_id or (other.is_held and claim.is_held)
            ):
                found.add(Suspect(self.held.promise, f"{where}: as {other.key}"))
            if claim.user_id in moving:
                continue
            if not claim.is_held:
                found.add(Suspect(self.reserved.promise, f"{where}: user {claim.user_id}"))
            elif not fits or not self._lives_away(claim):
                found.add(Suspect(self.held.promise, f"{where}: user {claim.user_id}"))
        for user_id, last in users.items():
            home = partition_of(last.shard, self.partitions)
            if last.age is None or home == self._home(user_id) or user_id in moving:
                continue
            holder = holders.get((home, last.email_key))
            if holder is None or holder.user_id != user_id or not holder.is_held:
                found.add(Suspect(self.away.promise, f"user {user_id} version {last.version}"))
        return found

    def _home(self, user_id: str) -> int:
        return partition_of(user_shard(user_id), self.partitions)

    def _lives_away(self, claim: Claim) -> bool:
        is_here = partition_of(claim.shard, self.partitions) == claim.partition
        return is_here and self._home(claim.user_id) != claim.partition

    def finish(
        self,
        claims: Sequence[Claim],
        users: Mapping[str, Last],
        readings: Sequence[AbstractSet[Suspect]],
    ) -> None:
        """Report what was wrong in every reading."""
        self.reserved.looked_at = len(claims)
        self.held.looked_at = sum(claim.is_held for claim in claims)
        self.away.looked_at = sum(
            last.age is not None and partition_of(last.shard, self.partitions) != self._home(user)
            for user, last in users.items()
        )
        for suspect in sorted(frozenset.intersection(*map(frozenset, readings))):
            for check in self.checks():
                if check.promise == suspect.promise:
                    check.report(suspect.example)
