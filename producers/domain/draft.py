"""What one batch would change in a partition's state: an overlay that an abort simply drops.

Deciding commands and taking the steps of the address saga both write here and read through it, so
that the second of a batch sees what the first did. `fold` takes it over once it is on the log.
"""

import os
from collections.abc import Callable, Iterator
from struct import Struct

from producers.domain.aggregate import (
    Change,
    Created,
    Deleted,
    EmailChanged,
    Erased,
    Standing,
    Updated,
    evolve,
)
from producers.domain.state import (
    Held,
    PartitionState,
    claim_key,
    held,
    id_bytes,
    id_text,
    pack,
    unpack,
)
from schemas.identity import email_shard, event_id, history_key, new_user_id, partition_of
from schemas.records import (
    USER_CREATED,
    USER_DELETED,
    USER_EMAIL_CHANGED,
    USER_ERASED,
    USER_UPDATED,
    CommandOutcome,
    EmailClaim,
    EmailHop,
    User,
    UserEvent,
)

_EVENT_TYPES: dict[type, str] = {
    Created: USER_CREATED,
    Updated: USER_UPDATED,
    EmailChanged: USER_EMAIL_CHANGED,
    Deleted: USER_DELETED,
    Erased: USER_ERASED,
}


_NOBODY = Standing()
_NUMBERS = Struct("Q")


def _random_62_bits() -> Iterator[int]:
    """Yield random numbers; asking the system for many at once takes a tenth of the time."""
    while True:
        for (number,) in _NUMBERS.iter_unpack(os.urandom(_NUMBERS.size << 8)):
            yield number >> 2


_random = _random_62_bits()


class Draft:
    """The records of one batch of one partition, and the state as it will be after them.

    Events have seq and version without a gap and times that never go back.
    """

    def __init__(
        self,
        state: PartitionState,
        *,
        now: int,
        random_bits: Callable[[], int] = _random.__next__,
    ) -> None:
        self.state = state
        self.now = max(now, state.last_time)
        self.seq = state.last_seq
        self.events: list[UserEvent] = []
        self.outcomes: list[CommandOutcome] = []
        self.erased_history: list[str] = []
        self.claims: list[tuple[str, EmailClaim | None]] = []
        self.hops: list[tuple[int, EmailHop]] = []
        self._random_bits = random_bits
        self._users: dict[bytes, bytes] = {}
        self._emails: dict[str, bytes | None] = {}
        self._claims: dict[str, tuple[EmailClaim, ...]] = {}
        self._answers: dict[str, CommandOutcome] = {}

    def held(self, user_id: str) -> Held | None:
        """Return what is known of a user; None if it never was."""
        key = id_bytes(user_id)
        packed = self._users.get(key) or self.state.users.get(key)
        return None if packed is None else unpack(packed)

    def standing(self, user_id: str) -> Standing:
        """Return what the rules ask of a user."""
        known = self.held(user_id)
        return Standing(known.user, known.version, known.erased) if known else _NOBODY

    def claims_of(self, key: str) -> tuple[EmailClaim, ...]:
        """Return the claims on the address by one user of another partition, in their order."""
        return self._claims[key] if key in self._claims else self.state.claims.get(key, ())

    def holder_id(self, key: str) -> str | None:
        """Return the live user, of whichever partition, who holds an address of this one."""
        here = self._emails[key] if key in self._emails else self.state.emails.get(key.encode())
        if here is not None:
            return id_text(here)
        claims = self.claims_of(key)
        return claims[0]["user_id"] if claims else None

    def answer(self, command_id: str) -> CommandOutcome | None:
        """Return the first answer to a command, within the window."""
        # The window's came first: what this batch says to the same id may be `command_id_reused`.
        return self.state.window.get(command_id) or self._answers.get(command_id)

    def new_user_id(self, key: str) -> str:
        """Return an id for a user who registers with the address."""
        return new_user_id(email_shard(key), self.now, self._random_bits())

    def append_event(self, user_id: str, change: Change, command_id: str) -> int:
        """Append the event of `change`; return the user's version after it.

        Addresses of this partition are taken and freed with it; for an address of another one a
        `free` is sent there.
        """
        before, stored_id = self.held(user_id), id_bytes(user_id)
        user = before.user if before else None
        version = (before.version if before else 0) + 1
        self.seq += 1
        event: UserEvent = {
            "event_id": event_id(user_id, version),
            "command_id": command_id,
            "seq": self.seq,
            "user_id": user_id,
            "version": version,
            "occurred_at": self.now,
            "type": _EVENT_TYPES[type(change)],
            "changes": [] if isinstance(change, Created | Erased) else change.fields,
            "user": evolve(user, change),
        }
        self.events.append(event)
        self._users[stored_id] = pack(held(event))
        self._move_address(stored_id, user, event)
        if isinstance(change, Erased):
            self.erased_history += [history_key(user_id, past) for past in range(1, version)]
        return version

    def _move_address(self, stored_id: bytes, before: User | None, event: UserEvent) -> None:
        old = before["email_key"] if before else None
        new = event["user"]["email_key"] if event["user"] else None
        if old == new:
            return
        if new is not None and self.state.is_home_of(new):
            self._emails[new] = stored_id
        if old is not None and self.state.is_home_of(old):
            self._emails[old] = None
        elif old is not None:
            free = self.hop("free", event["command_id"], event["user_id"], email_key=old)
            self.send(old, free)

    def hop(
        self,
        kind: str,
        claim_id: str,
        user_id: str,
        *,
        email_key: str | None,
        email: str | None = None,
        holder_id: str | None = None,
        command_offset: int | None = None,
        digest: bytes | None = None,
        expected_version: int | None = None,
        again: bool = False,
    ) -> EmailHop:
        """Return a message of the saga, sent now."""
        return {
            "claim_id": claim_id,
            "kind": kind,
            "sent_at": self.now,
            "user_id": user_id,
            "email": email,
            "email_key": email_key,
            "holder_id": holder_id,
            "command_offset": command_offset,
            "digest": digest,
            "expected_version": expected_version,
            "again": again,
        }

    def send(self, key: str, hop: EmailHop) -> None:
        """Send a hop to the partition of an address."""
        self.hops.append((partition_of(email_shard(key), self.state.partitions), hop))

    def put_claim(self, claim: EmailClaim) -> None:
        """Hold an address of this partition for a user of another, in place of the same claim."""
        others = self._others(claim)
        self._claims[claim["email_key"]] = tuple(sorted([*others, claim], key=claim_key))
        self.claims.append((claim_key(claim), claim))

    def drop_claim(self, claim: EmailClaim) -> None:
        """Hold the address by this claim no longer."""
        self._claims[claim["email_key"]] = tuple(self._others(claim))
        self.claims.append((claim_key(claim), None))

    def _others(self, claim: EmailClaim) -> list[EmailClaim]:
        claims = self.claims_of(claim["email_key"])
        return [one for one in claims if claim_key(one) != claim_key(claim)]

    def append_outcome(self, outcome: CommandOutcome) -> None:
        """Append an answer; the first of its id is the one that repeats get."""
        self._answers.setdefault(outcome["command_id"], outcome)
        self.outcomes.append(outcome)

    def fold(self) -> None:
        """Take everything over into the state: it is on the log now."""
        state = self.state
        state.users.update(self._users)
        for key, holder in self._emails.items():
            if holder is None:
                state.emails.pop(key.encode(), None)
            else:
                state.emails[key.encode()] = holder
        for key, claims in self._claims.items():
            if claims:
                state.claims[key] = claims
            else:
                state.claims.pop(key, None)
        for outcome in self.outcomes:
            state.window.add(outcome)
        state.last_seq = self.seq
        state.last_time = self.now
