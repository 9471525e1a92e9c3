"""Decides a batch of one partition's commands against its state, without touching that state.

Everything new lies in an overlay until the transaction that holds it is committed: `fold` then
takes it over, and dropping the object is all that an abort needs.
"""

import os
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from producers.aggregate import (
    Change,
    Command,
    CreateUser,
    Updated,
    UpdateUser,
    decide,
    evolve,
    read_command,
)
from producers.state import Held, PartitionState, held
from schemas.errors import Poisoned, Rejected
from schemas.identity import (
    email_key,
    email_shard,
    event_id,
    new_user_id,
    partition_of,
    user_shard,
)
from schemas.records import (
    ACCEPTED,
    REJECTED,
    USER_CREATED,
    USER_UPDATED,
    CommandOutcome,
    UserCommand,
    UserEvent,
)
from schemas.rules import clean_command_id


def body_digest(record: UserCommand) -> bytes:
    """Return 8 bytes over what `record` asks: the same id with another body is refused."""
    body = (
        record["kind"],
        record.get("user_id"),
        record.get("email"),
        record.get("name"),
        record.get("age"),
        record.get("expected_version"),
    )
    return blake2b(repr(body).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _random_62_bits() -> int:
    return int.from_bytes(os.urandom(8)) >> 2


class _Asked(NamedTuple):
    """Which command an outcome answers."""

    command_id: str
    offset: int
    digest: bytes


class Decisions:
    """The decisions of one batch in one partition: `events` and `outcomes` to append.

    Call `decide` for each command in the order of the log, then `fold` once they are committed.
    Events have seq and version without a gap and times that never go back.
    """

    def __init__(
        self,
        state: PartitionState,
        partition: int,
        partitions: int,
        *,
        now: int,
        random_bits: Callable[[], int] = _random_62_bits,
    ) -> None:
        self._state = state
        self._partition = partition
        self._partitions = partitions
        self._now = max(now, state.last_time)
        self._random_bits = random_bits
        self._seq = state.last_seq
        self._users: dict[str, Held] = {}
        self._emails: dict[str, str] = {}
        self._outcomes: dict[str, CommandOutcome] = {}
        self.events: list[UserEvent] = []
        self.outcomes: list[CommandOutcome] = []

    def decide(self, offset: int, record: UserCommand) -> None:
        """Decide the command at `offset`; a repeated one gets its first answer again.

        Raises `Poisoned` if its id cannot key an outcome, so that nobody could be answered.
        """
        command_id = record["command_id"]
        try:
            clean_command_id(command_id)
        except Rejected as error:
            raise Poisoned(str(error), code="bad_command_id") from None
        asked = _Asked(command_id, offset, body_digest(record))
        first = self._outcomes.get(command_id) or self._state.window.get(command_id)
        if first is not None:
            self._repeat(first, asked)
            return
        try:
            command = read_command(record)
            self._require_home(command)
            if isinstance(command, CreateUser):
                self._create(asked, command)
            else:
                self._update(asked, command)
        except Rejected as error:
            self._reject(asked, error, record.get("user_id"))

    def fold(self) -> None:
        """Take the decisions over into the state: they are on the log now."""
        state = self._state
        state.users.update(self._users)
        state.emails.update(self._emails)
        for outcome in self.outcomes:
            state.window.add(outcome)
        state.last_seq = self._seq
        state.last_time = self._now

    def _require_home(self, command: Command) -> None:
        """Refuse a command that a stranger put on the wrong partition: never a second user."""
        if isinstance(command, CreateUser):
            shard = email_shard(email_key(command.email))
        else:
            shard = user_shard(command.user_id)
        if partition_of(shard, self._partitions) != self._partition:
            raise Rejected(
                "the command stands on a partition that is not its user's",
                code="wrong_partition",
                next_step="send it with `rollbook`, or place it by the user's shard",
            )

    def _held(self, user_id: str) -> Held | None:
        return self._users.get(user_id) or self._state.users.get(user_id)

    def _create(self, asked: _Asked, command: CreateUser) -> None:
        key = email_key(command.email)
        holder_id = self._emails.get(key) or self._state.emails.get(key)
        if holder_id is not None:
            holder = self._held(holder_id)
            if holder is not None and holder.created_by == command.command_id:
                self._accept(asked, holder_id, 1, holder.seq, repeated=True)
                return
        change = decide(None, command, version=0, holder_id=holder_id, now=self._now)
        user_id = new_user_id(email_shard(key), self._now, self._random_bits())
        self._emails[key] = user_id
        self._append(asked, user_id, None, change)

    def _update(self, asked: _Asked, command: UpdateUser) -> None:
        current = self._held(command.user_id)
        if current is not None and current.command_id == asked.command_id:
            self._accept(asked, command.user_id, current.version, current.seq, repeated=True)
            return
        user = current.user() if current else None
        version = current.version if current else 0
        change = decide(user, command, version=version, holder_id=None, now=self._now)
        self._append(asked, command.user_id, current, change)

    def _append(
        self, asked: _Asked, user_id: str, current: Held | None, change: Change | None
    ) -> None:
        """Append the event of `change`, if any, and the acceptance."""
        version = current.version if current else 0
        if change is not None:
            version += 1
            self._seq += 1
            event: UserEvent = {
                "event_id": event_id(user_id, version),
                "command_id": asked.command_id,
                "seq": self._seq,
                "user_id": user_id,
                "version": version,
                "occurred_at": self._now,
                "type": USER_UPDATED if isinstance(change, Updated) else USER_CREATED,
                "changes": change.fields if isinstance(change, Updated) else [],
                "user": evolve(current.user() if current else None, change),
            }
            self.events.append(event)
            self._users[user_id] = held(event)
        self._accept(asked, user_id, version, self._seq)

    def _accept(
        self, asked: _Asked, user_id: str, version: int, seq: int, *, repeated: bool = False
    ) -> None:
        """Append an acceptance; `repeated` where the user itself remembers the command's effect."""
        self._answer(
            {
                "command_id": asked.command_id,
                "command_offset": asked.offset,
                "decided_at": self._now,
                "digest": asked.digest,
                "status": ACCEPTED,
                "user_id": user_id,
                "version": version,
                "seq": seq,
                "code": None,
                "message": None,
                "repeated": repeated,
            }
        )

    def _reject(self, asked: _Asked, error: Rejected, about: str | None) -> None:
        current = self._held(about) if about else None
        self._answer(
            {
                "command_id": asked.command_id,
                "command_offset": asked.offset,
                "decided_at": self._now,
                "digest": asked.digest,
                "status": REJECTED,
                "user_id": error.user_id or (about if current else None),
                "version": current.version if current else None,
                "seq": self._seq,
                "code": error.code,
                "message": str(error),
                "repeated": False,
            }
        )

    def _repeat(self, first: CommandOutcome, asked: _Asked) -> None:
        if first["digest"] == asked.digest:
            self._answer(
                {
                    **first,
                    "command_offset": asked.offset,
                    "decided_at": self._now,
                    "repeated": True,
                }
            )
            return
        reused = Rejected("this command id was used for another command", code="command_id_reused")
        self._reject(asked, reused, None)

    def _answer(self, outcome: CommandOutcome) -> None:
        self._outcomes.setdefault(outcome["command_id"], outcome)
        self.outcomes.append(outcome)
