"""Decides commands of one partition, one after the other, into the draft of a batch."""

from hashlib import blake2b
from typing import NamedTuple

from producers.domain.aggregate import (
    AboutUser,
    ChangeEmail,
    Command,
    CreateUser,
    EmailChanged,
    Standing,
    decide,
)
from producers.domain.draft import Draft
from producers.domain.parse import read_command
from schemas.errors import Poisoned, Rejected
from schemas.identity import email_key, email_shard, partition_of, user_shard
from schemas.records import ACCEPTED, REJECTED, CommandOutcome, UserCommand
from schemas.rules import clean_command_id

_NOBODY = Standing()


class Asked(NamedTuple):
    """Which command an outcome answers, and which user it is about, if the command says."""

    command_id: str
    offset: int
    digest: bytes
    user_id: str | None

    def about(self, user_id: str | None) -> "Asked":
        """Return the same, about this user; `_replace` takes three times as long."""
        return Asked(self.command_id, self.offset, self.digest, user_id)


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


def decide_command(draft: Draft, offset: int, record: UserCommand) -> None:
    """Decide the command at `offset`; a repeated one gets its first answer again.

    A change to an address of another partition is sent there and answered when it comes back.
    Raises `Poisoned` if the command's id cannot key an outcome, so that nobody could be answered.
    """
    command_id = record["command_id"]
    try:
        clean_command_id(command_id)
    except Rejected as error:
        raise Poisoned(str(error), code="bad_command_id") from None
    asked = Asked(command_id, offset, body_digest(record), record.get("user_id"))
    first = draft.answer(command_id)
    if first is not None:
        repeat(draft, first, asked)
        return
    try:
        command = read_command(record)
        _require_home(draft, command)
        if isinstance(command, CreateUser):
            _create(draft, asked, command)
        else:
            _change(draft, asked, command)
    except Rejected as error:
        reject(draft, asked, error)


def _require_home(draft: Draft, command: Command) -> None:
    """Refuse a command that a stranger put on the wrong partition: never a second user."""
    if isinstance(command, CreateUser):
        shard = email_shard(email_key(command.email))
    else:
        shard = user_shard(command.user_id)
    if partition_of(shard, draft.state.partitions) != draft.state.partition:
        raise Rejected(
            "the command stands on a partition that is not its user's",
            code="wrong_partition",
            next_step="send it with `rollbook`, or place it by the user's shard",
        )


def _create(draft: Draft, asked: Asked, command: CreateUser) -> None:
    key = email_key(command.email)
    holder_id = draft.holder_id(key)
    holder = draft.held(holder_id) if holder_id else None
    if holder and holder.user and holder.user["created_by"] == asked.command_id:
        accept(draft, asked.about(holder_id), 1, seq=holder.seq, repeated=True)
        return
    change = decide(_NOBODY, command, holder_id=holder_id, now=draft.now)
    if change is None:
        raise AssertionError("a creation always changes something")
    user_id = draft.new_user_id(key)
    version = draft.append_event(user_id, change, asked.command_id)
    accept(draft, asked.about(user_id), version)


def _change(draft: Draft, asked: Asked, command: AboutUser) -> None:
    """Decide a command about a user of this partition."""
    user_id = command.user_id
    asked = asked.about(user_id)
    known = draft.held(user_id)
    if known is not None and known.command_id == asked.command_id:
        accept(draft, asked, known.version, seq=known.seq, repeated=True)
        return
    holder_id = None
    if isinstance(command, ChangeEmail):
        holder_id = draft.holder_id(email_key(command.email))
        holder_id = None if holder_id == user_id else holder_id
    standing = draft.standing(user_id)
    change = decide(standing, command, holder_id=holder_id, now=draft.now)
    if isinstance(command, ChangeEmail) and isinstance(change, EmailChanged):
        current = standing.user["email_key"] if standing.user else ""
        if change.email_key != current and not draft.state.is_home_of(change.email_key):
            _ask_elsewhere(draft, asked, command)
            return
    version = standing.version
    if change is not None:
        version = draft.append_event(user_id, change, asked.command_id)
    accept(draft, asked, version)


def _ask_elsewhere(draft: Draft, asked: Asked, command: ChangeEmail) -> None:
    """Ask the partition of the new address to reserve it; nothing is kept here meanwhile."""
    key = email_key(command.email)
    hop = draft.hop(
        "reserve",
        asked.command_id,
        command.user_id,
        email=command.email,
        email_key=key,
        command_offset=asked.offset,
        digest=asked.digest,
        expected_version=command.expected_version,
    )
    draft.send(key, hop)


def accept(
    draft: Draft, asked: Asked, version: int, *, seq: int | None = None, repeated: bool = False
) -> None:
    """Append an acceptance; `repeated` where the user itself remembers the command's effect."""
    outcome = _outcome(draft, asked, ACCEPTED, asked.user_id, version)
    outcome["seq"] = draft.seq if seq is None else seq
    outcome["repeated"] = repeated
    draft.append_outcome(outcome)


def reject(draft: Draft, asked: Asked, error: Rejected) -> None:
    """Append a rejection: its code, and the user's version if there is such a user."""
    known = _known(draft, asked.user_id)
    user_id = error.user_id or (asked.user_id if known else None)
    outcome = _outcome(draft, asked, REJECTED, user_id, known)
    outcome["code"], outcome["message"] = error.code, str(error)
    draft.append_outcome(outcome)


def _known(draft: Draft, user_id: str | None) -> int | None:
    """Return the version of the user that a command names, if it is an id that we know."""
    try:
        known = draft.held(user_id) if user_id else None
    except ValueError:
        return None
    return known.version if known else None


def repeat(draft: Draft, first: CommandOutcome, asked: Asked) -> None:
    """Append the first answer again, or a refusal if `asked` has another body."""
    if first["digest"] != asked.digest:
        reused = Rejected("this command id was used for another command", code="command_id_reused")
        reject(draft, asked.about(None), reused)
        return
    again: CommandOutcome = {
        **first,
        "command_offset": asked.offset,
        "decided_at": draft.now,
        "repeated": True,
    }
    draft.append_outcome(again)


def _outcome(
    draft: Draft, asked: Asked, status: str, user_id: str | None, version: int | None
) -> CommandOutcome:
    return {
        "command_id": asked.command_id,
        "command_offset": asked.offset,
        "decided_at": draft.now,
        "digest": asked.digest,
        "status": status,
        "user_id": user_id,
        "version": version,
        "seq": draft.seq,
        "code": None,
        "message": None,
        "repeated": False,
    }
