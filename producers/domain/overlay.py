"""What one batch would change in a partition: an overlay on its state that an abort drops.

It only collects. Deciding commands and applying address messages append to it and read through it,
so that a later input of the batch sees what an earlier one did. `fold` moves everything into the
state once the transaction is committed.
"""

import os
from collections.abc import Callable, Iterator
from struct import Struct

from producers.domain.aggregate import EventSlot
from producers.domain.snapshot import UserSnapshot, pack, snapshot_of, unpack
from producers.domain.state import PartitionState, claim_key
from schemas.formats import mark_key
from schemas.identity import history_key, new_user_id, partition_of, uuid_text
from schemas.records import (
    USER_ERASED,
    AddressMessage,
    CommandOutcome,
    EmailClaim,
    LogFormat,
    User,
    UserEvent,
)

_NUMBERS = Struct("Q")
_MOST_FOLLOWED_MS = 60_000


def _random_62_bits() -> Iterator[int]:
    """Yield random numbers; fetching many at once from the system takes a tenth of the time."""
    while True:
        for (number,) in _NUMBERS.iter_unpack(os.urandom(_NUMBERS.size << 8)):
            yield number >> 2


_random = _random_62_bits()


class Overlay:
    """The records of one batch of one partition, and the state as it will be after them.

    Events have seq and version without a gap and times that never go back, with one exception: if
    the partition's last time is more than `most_lead_ms` ahead of the clock, `now`, the clock
    counts again. 0 means that it never does.
    """

    def __init__(
        self,
        state: PartitionState,
        *,
        now: int,
        most_lead_ms: int = 0,
        random_bits: Callable[[], int] = _random.__next__,
    ) -> None:
        self.state = state
        self._clock = now
        is_too_far = 0 < most_lead_ms < state.last_time - now
        self.now = now if is_too_far else max(now, state.last_time)
        self.seq = state.last_seq
        self.events: list[UserEvent] = []
        self.outcomes: list[CommandOutcome] = []
        self.erased_history: list[str] = []
        self.claims: list[tuple[str, EmailClaim | None]] = []
        self.messages: list[tuple[int, AddressMessage]] = []
        # Written before the events, all of which are written in this format.
        self.mark: LogFormat | None = None
        self.format = state.format
        self._random_bits = random_bits
        self._users: dict[bytes, bytes] = {}
        self._emails: dict[str, bytes | None] = {}
        self._claims: dict[str, tuple[EmailClaim, ...]] = {}
        self._answers: dict[str, CommandOutcome] = {}

    def follow(self, sent_at: int) -> None:
        """Stamp nothing earlier than a message that caused it, unless its sender's clock is wrong.

        A clock that is a minute or more ahead would otherwise be carried to every partition.
        """
        self.now = max(self.now, min(sent_at, self._clock + _MOST_FOLLOWED_MS))

    def user(self, packed_id: bytes) -> UserSnapshot | None:
        """Return what is known of a user; None if it never existed."""
        packed = self._users.get(packed_id) or self.state.users.get(packed_id)
        return None if packed is None else unpack(packed)

    def claims_of(self, key: str) -> tuple[EmailClaim, ...]:
        """Return the claims on an address by one user of another partition, in their order."""
        return self._claims[key] if key in self._claims else self.state.claims.get(key, ())

    def holder_id(self, key: str) -> str | None:
        """Return the id of the live user, of any partition, who holds an address of this one."""
        here = self._emails[key] if key in self._emails else self.state.emails.get(key.encode())
        if here is not None:
            return uuid_text(here)
        claims = self.claims_of(key)
        return claims[0]["user_id"] if claims else None

    def answer(self, command_id: str) -> CommandOutcome | None:
        """Return the first answer to a command, within the window."""
        # The window's came first: this batch's answer to the same id may be `command_id_reused`.
        return self.state.window.get(command_id) or self._answers.get(command_id)

    def new_user_id(self, shard: int) -> str:
        """Return an id for a user who registers with an address of `shard`."""
        return new_user_id(shard, self.now, self._random_bits())

    def next_slot(self, user_id: str) -> EventSlot:
        """Return where the next event of a user goes."""
        return EventSlot(self.seq + 1, self.now, user_id)

    def append_event(self, packed_id: bytes, event: UserEvent, before: User | None) -> None:
        """Append an event; addresses of this partition are taken and freed with it."""
        self.seq = event["seq"]
        self.events.append(event)
        self._users[packed_id] = pack(snapshot_of(event))
        self._move_address(packed_id, before, event["user"])
        if event["type"] == USER_ERASED:
            past = range(1, event["version"])
            self.erased_history += [history_key(event["user_id"], version) for version in past]

    def _move_address(self, packed_id: bytes, before: User | None, after: User | None) -> None:
        old = before["email_key"] if before else None
        new = after["email_key"] if after else None
        if old == new:
            return
        if new is not None and self.state.is_home_of(new):
            self._emails[new] = packed_id
        if old is not None and self.state.is_home_of(old):
            self._emails[old] = None

    def send(self, shard: int, message: AddressMessage) -> None:
        """Append a message to the partition of `shard`."""
        self.messages.append((partition_of(shard, self.state.partitions), message))

    def put_claim(self, claim: EmailClaim) -> None:
        """Hold an address of this partition for a user of another; replaces the same claim."""
        others = self._others(claim)
        self._claims[claim["email_key"]] = tuple(sorted([*others, claim], key=claim_key))
        self.claims.append((claim_key(claim), claim))

    def drop_claim(self, claim: EmailClaim) -> None:
        """Release the address from this claim."""
        self._claims[claim["email_key"]] = tuple(self._others(claim))
        self.claims.append((claim_key(claim), None))

    def _others(self, claim: EmailClaim) -> list[EmailClaim]:
        claims = self.claims_of(claim["email_key"])
        return [one for one in claims if claim_key(one) != claim_key(claim)]

    def append_outcome(self, outcome: CommandOutcome) -> None:
        """Append an answer; the first of its id is the one that repeats get."""
        self._answers.setdefault(outcome["command_id"], outcome)
        self.outcomes.append(outcome)

    @property
    def mark_key(self) -> str:
        """The key of the mark."""
        return mark_key(self.state.partition, self.state.partitions)

    def raise_format(self, wanted: int, issued_by: str | None) -> None:
        """Write the records of this batch and all later ones in another format."""
        self.format = wanted
        self.mark = {"format": wanted, "finalised_at": self.now, "finalised_by": issued_by}

    def fold(self) -> None:
        """Move everything into the state: it is on the log now."""
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
        for claim_id, claim in self.claims:
            state.note_grant(claim_id, claim)
        for outcome in self.outcomes:
            state.window.add(outcome)
        state.format = self.format
        state.last_seq = self.seq
        state.last_time = self.now
