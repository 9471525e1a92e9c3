"""Pure checks of addresses held across partitions: claims, users and messages must agree.

An address change proceeds while the topics are read one after the other, so a single reading proves
nothing: only what is wrong in all of several readings is reported.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from schemas.identity import email_shard, partition_of, user_shard
from schemas.records import EmailClaim
from scripts.verify.facts import Check, Entry, Last, text_hash

HELD = "held"


class Claim(NamedTuple):
    """A claim according to its last record; the address is kept as a hash and its shard."""

    partition: int
    key: str
    user_id: str
    is_held: bool
    address: int
    shard: int


class Suspect(NamedTuple):
    """Something wrong in one reading, and the promise that it breaks."""

    promise: str
    example: str


def fold_claims(entries: Iterable[Entry]) -> dict[str, Claim]:
    """Return the claims in one partition of `user-emails`, by key."""
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


class ClaimChecks:
    """Call `suspects` for several readings, then `finish` with all of them."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.reserved = Check("claims: an address is reserved only while messages are in transit")
        self.held = Check(
            "claims: each one held belongs to a live user of another partition with that address"
        )
        self.away = Check(
            "claims: each user in a different partition from its address has one claim there"
        )

    def checks(self) -> list[Check]:
        """Return all checks in the order they are shown."""
        return [self.reserved, self.held, self.away]

    def suspects(
        self, claims: Sequence[Claim], users: Mapping[str, Last], moving: AbstractSet[str]
    ) -> set[Suspect]:
        """Return what is wrong in one reading; `moving` are users with messages in transit."""
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
            # A user may have reserved it by several changes, and holds it by at most one of them.
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
