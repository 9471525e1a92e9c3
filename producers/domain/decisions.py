"""Decides the commands of one partition, one after the other, on the overlay of a batch."""

from producers.domain import address_messages
from producers.domain.aggregate import (
    ChangeEmail,
    Command,
    CreateUser,
    UserCommand,
    decide,
    is_its_creation,
    is_latest_change,
)
from producers.domain.answers import (
    CommandRef,
    accept,
    body_digest,
    reject,
    reject_reused,
    repeat,
)
from producers.domain.overlay import Overlay
from producers.domain.parse import parse_command
from producers.domain.snapshot import UserSnapshot
from producers.domain.upgrade import UpgradeCommand, decide_upgrade
from schemas.errors import Poisoned, Rejected
from schemas.fields.rules import clean_command_id
from schemas.identity import email_shard, uuid_bytes
from schemas.records import UserCommand as CommandRecord
from schemas.records import UserEvent


def decide_command(overlay: Overlay, offset: int, record: CommandRecord) -> None:
    """Decide the command at `offset`; a repeated command gets its first answer again.

    A change to an address of another partition is sent there and answered when the reply arrives.
    Raises `Poisoned` if the command's id cannot key an outcome, so that no answer could be
    delivered.
    """
    command_id = record["command_id"]
    try:
        clean_command_id(command_id)
    except Rejected as error:
        raise Poisoned(str(error), code="bad_command_id") from None
    ref = CommandRef(command_id, offset, body_digest(record), record.get("user_id"))
    first = overlay.answer(command_id)
    if first is not None:
        repeat(overlay, first, ref)
        return
    try:
        command = parse_command(record)
        if isinstance(command, UpgradeCommand):
            decide_upgrade(overlay, ref, command)
            return
        _require_home(overlay, command)
        if isinstance(command, CreateUser):
            _create(overlay, ref, command)
        else:
            _change(overlay, ref.for_user(command.user_id.text), command)
    except Rejected as error:
        reject(overlay, ref, error)


def _require_home(overlay: Overlay, command: Command) -> None:
    """Refuse a command that was written to the wrong partition: it could create a second user."""
    placed_by = command.address if isinstance(command, CreateUser) else command.user_id
    if not overlay.state.owns(placed_by.shard):
        raise Rejected(
            "the command is on a partition that is not its user's",
            code="wrong_partition",
            next_step="send it with `rollbook`, or place it by the user's shard",
        )


def _create(overlay: Overlay, ref: CommandRef, command: CreateUser) -> None:
    holder_id = overlay.holder_id(command.address.key)
    holder = overlay.user(uuid_bytes(holder_id)) if holder_id else None
    if holder and holder.version == 1 and holder.command_id == ref.command_id:
        if is_its_creation(holder, command):
            accept(overlay, ref.for_user(holder_id), 1, seq=holder.seq, repeated=True)
        else:
            reject_reused(overlay, ref)
        return
    user_id = overlay.new_user_id(command.address.shard)
    events = decide(None, command, overlay.next_slot(user_id), holder_id=holder_id)
    _append(overlay, uuid_bytes(user_id), None, events)
    accept(overlay, ref.for_user(user_id), 1)


def _change(overlay: Overlay, ref: CommandRef, command: UserCommand) -> None:
    """Decide a command about a user of this partition."""
    known = overlay.user(command.user_id.packed)
    if known is not None and known.command_id == ref.command_id:
        answer_latest_change(overlay, ref, command, known)
        return
    holder_id = None
    if isinstance(command, ChangeEmail):
        holder_id = overlay.holder_id(command.address.key)
        holder_id = None if holder_id == command.user_id.text else holder_id
    slot = overlay.next_slot(command.user_id.text)
    events = decide(known, command, slot, holder_id=holder_id)
    if isinstance(command, ChangeEmail) and events and _is_elsewhere(overlay, known, command):
        # No pending state is kept here: the reply carries the command.
        message = address_messages.reserve(ref, command, overlay.now)
        overlay.send(command.address.shard, message)
        return
    accept_events(overlay, ref, command, known, events)


def answer_latest_change(
    overlay: Overlay, ref: CommandRef, command: UserCommand, known: UserSnapshot
) -> None:
    """Answer a command that has the id of its user's latest change and whose answer is forgotten.

    The user itself records the id, so the command is accepted as a repeat, or refused if it cannot
    be the one that made this change.
    """
    if is_latest_change(known, command):
        accept(overlay, ref, known.version, seq=known.seq, repeated=True)
    else:
        reject_reused(overlay, ref)


def _is_elsewhere(overlay: Overlay, known: UserSnapshot | None, command: ChangeEmail) -> bool:
    """Return whether the address is new to the user and belongs to another partition."""
    current = known.user["email_key"] if known and known.user else None
    return command.address.key != current and not overlay.state.owns(command.address.shard)


def accept_events(
    overlay: Overlay,
    ref: CommandRef,
    command: UserCommand,
    known: UserSnapshot | None,
    events: list[UserEvent],
) -> None:
    """Append the events of a decided command, and its acceptance at the version after them."""
    version = _append(overlay, command.user_id.packed, known, events)
    accept(overlay, ref, version)


def _append(
    overlay: Overlay, packed_id: bytes, known: UserSnapshot | None, events: list[UserEvent]
) -> int:
    """Append events of one user; return the version after them.

    An address of another partition that the user leaves is freed there by a message.
    """
    version, user = (known.version, known.user) if known else (0, None)
    for event in events:
        overlay.append_event(packed_id, event, user)
        left = address_messages.left_key(user, event)
        if left is not None and not overlay.state.is_home_of(left):
            message = address_messages.free(event, left, overlay.now)
            overlay.send(email_shard(left), message)
        version, user = event["version"], event["user"]
    return version
