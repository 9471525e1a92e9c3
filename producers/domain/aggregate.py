"""The user aggregate: what a command changes, and what a user is after an event.

No I/O, no clock, no randomness: time, seq and ids are passed in, so every rule is tested as given
events → when command → then events. Commands are named tuples because one is made for each record
of the log, and a frozen dataclass takes three times as long. `issued_by` is who asked.
"""

from typing import NamedTuple, TypeAlias, assert_never, cast

from producers.domain.snapshot import UserSnapshot
from schemas.errors import Rejected
from schemas.identity import event_id
from schemas.records import (
    USER_CREATED,
    USER_DELETED,
    USER_EMAIL_CHANGED,
    USER_ERASED,
    USER_UPDATED,
    EventType,
    FieldChange,
    User,
    UserEvent,
)


class Address(NamedTuple):
    """An e-mail address: as written, as uniqueness compares it, and the shard of that key."""

    email: str
    key: str
    shard: int


class UserId(NamedTuple):
    """A user's id: canonical text, its 16 bytes, and the shard written into it."""

    text: str
    packed: bytes
    shard: int


class CreateUser(NamedTuple):
    """Register a user under an address that no live user holds."""

    command_id: str
    address: Address
    name: str
    age: int
    issued_by: str | None = None


class UpdateUser(NamedTuple):
    """Change a user's name, age or both; None leaves a field as it is."""

    command_id: str
    user_id: UserId
    name: str | None = None
    age: int | None = None
    expected_version: int | None = None
    issued_by: str | None = None


class ChangeEmail(NamedTuple):
    """Give a user another address."""

    command_id: str
    user_id: UserId
    address: Address
    expected_version: int | None = None
    issued_by: str | None = None


class DeleteUser(NamedTuple):
    """Remove a user; its history stays."""

    command_id: str
    user_id: UserId
    expected_version: int | None = None
    issued_by: str | None = None


class EraseUser(NamedTuple):
    """Remove a user, live or deleted, and everything personal in its history."""

    command_id: str
    user_id: UserId
    expected_version: int | None = None
    issued_by: str | None = None


UserCommand: TypeAlias = UpdateUser | ChangeEmail | DeleteUser | EraseUser
Command: TypeAlias = CreateUser | UserCommand


class EventSlot(NamedTuple):
    """Where an event goes: the next seq of the partition, the time in ms, the user's id."""

    seq: int
    now: int
    user_id: str


def decide(
    known: UserSnapshot | None, command: Command, slot: EventSlot, *, holder_id: str | None = None
) -> list[UserEvent]:
    """Return what `command` changes, or raise `Rejected`; never both, never in part.

    `known` is None if the user never existed. `holder_id` is another live user who holds the
    address that the command asks for. No event means: accepted, and nothing changes.
    """
    match command:
        case CreateUser():
            return _created(command, slot, holder_id)
        case UpdateUser():
            return _updated(command, slot, _live(known, command))
        case ChangeEmail():
            return _email_changed(command, slot, _live(known, command), holder_id)
        case DeleteUser():
            return _deleted(command, slot, _live(known, command))
        case EraseUser():
            return _erased(command, slot, known)
        case _:
            assert_never(command)


def is_latest_change(known: UserSnapshot, command: UserCommand) -> bool:
    """Return whether `command` can be the one that made the user what it is now.

    For a command with the id of the user's latest change whose answer is forgotten: the body is no
    longer known, but what it must have asked for is.
    """
    if known.version == 1 or command.expected_version not in (None, known.version - 1):
        return False
    user = known.user
    match command:
        case UpdateUser():
            wanted = (command.name, command.age)
            return user is not None and all(
                want in (None, have)
                for want, have in zip(wanted, (user["name"], user["age"]), strict=True)
            )
        case ChangeEmail():
            return user is not None and command.address.email == user["email"]
        case DeleteUser():
            return user is None and not known.erased
        case EraseUser():
            return known.erased
        case _:
            assert_never(command)


def is_its_creation(known: UserSnapshot, command: CreateUser) -> bool:
    """Return whether `command` can be the one that created a user who is unchanged since."""
    user = known.user
    wanted = (command.address.email, command.name, command.age)
    return user is not None and (user["email"], user["name"], user["age"]) == wanted


def evolve(user: User | None, event: UserEvent) -> User | None:
    """Return the user after `event`, or None once it is gone.

    Only what `changes` cannot express (a creation, the key of an address) is read from the state
    that the event carries, so folding a history checks that state.
    """
    match event["type"]:
        case "UserCreated":
            return event["user"]
        case "UserUpdated":
            return _with_changes(user, event["changes"])
        case "UserEmailChanged":
            carried = event["user"]
            if carried is None:
                raise AssertionError("a change of address leaves a live user")
            changed = _with_changes(user, event["changes"])
            return cast("User", {**changed, "email_key": carried["email_key"]})
        case "UserDeleted" | "UserErased":
            return None
        case unknown:
            assert_never(unknown)


def _live(known: UserSnapshot | None, command: UserCommand) -> tuple[int, User]:
    """Return version and state of the live user that `command` is about, or raise `Rejected`."""
    if known is None or known.user is None:
        raise _not_found()
    _require_version(known.version, command)
    return known.version, known.user


def _not_found() -> Rejected:
    return Rejected("there is no such user", code="user_not_found")


def _require_version(version: int, command: UserCommand) -> None:
    if command.expected_version not in (None, version):
        raise Rejected(
            f"the user is at version {version}, not {command.expected_version}",
            code="version_conflict",
        )


def _require_free(holder_id: str | None) -> None:
    if holder_id is not None:
        raise Rejected(
            "another user holds this e-mail address",
            code="user_already_exists",
            user_id=holder_id,
        )


def _created(command: CreateUser, slot: EventSlot, holder_id: str | None) -> list[UserEvent]:
    _require_free(holder_id)
    user: User = {
        "email": command.address.email,
        "email_key": command.address.key,
        "name": command.name,
        "age": command.age,
        "created_at": slot.now,
        "created_by": command.command_id,
    }
    return [_event(USER_CREATED, command, slot, 1, changes=[], user=user)]


def _updated(command: UpdateUser, slot: EventSlot, live: tuple[int, User]) -> list[UserEvent]:
    version, user = live
    changes: list[FieldChange] = []
    if command.name is not None and command.name != user["name"]:
        changes.append(_change("name", user["name"], command.name))
    if command.age is not None and command.age != user["age"]:
        changes.append(_change("age", user["age"], command.age))
    if not changes:
        return []
    after = _with_changes(user, changes)
    return [_event(USER_UPDATED, command, slot, version + 1, changes=changes, user=after)]


def _email_changed(
    command: ChangeEmail, slot: EventSlot, live: tuple[int, User], holder_id: str | None
) -> list[UserEvent]:
    address, (version, user) = command.address, live
    if address.email == user["email"]:
        return []
    _require_free(holder_id)
    changes = [_change("email", user["email"], address.email)]
    after: User = {**user, "email": address.email, "email_key": address.key}
    return [_event(USER_EMAIL_CHANGED, command, slot, version + 1, changes=changes, user=after)]


def _deleted(command: DeleteUser, slot: EventSlot, live: tuple[int, User]) -> list[UserEvent]:
    version, user = live
    changes = [_change(name, user[name], None) for name in ("email", "name", "age")]
    return [_event(USER_DELETED, command, slot, version + 1, changes=changes, user=None)]


def _erased(command: EraseUser, slot: EventSlot, known: UserSnapshot | None) -> list[UserEvent]:
    """Erase a user, live or deleted; erasing one that is erased changes nothing."""
    if known is None:
        raise _not_found()
    _require_version(known.version, command)
    if known.erased:
        return []
    return [_event(USER_ERASED, command, slot, known.version + 1, changes=[], user=None)]


def _change(name: str, before: str | int | None, after: str | int | None) -> FieldChange:
    return {"field": name, "before": before, "after": after}


def _with_changes(user: User | None, changes: list[FieldChange]) -> User:
    if user is None:
        raise AssertionError("only a live user is changed")
    return cast("User", {**user, **{change["field"]: change["after"] for change in changes}})


def _event(
    kind: EventType,
    command: Command,
    slot: EventSlot,
    version: int,
    *,
    changes: list[FieldChange],
    user: User | None,
) -> UserEvent:
    return {
        "event_id": event_id(slot.user_id, version),
        "command_id": command.command_id,
        "seq": slot.seq,
        "user_id": slot.user_id,
        "version": version,
        "occurred_at": slot.now,
        "type": kind,
        "changes": changes,
        "user": user,
        "issued_by": None if kind == USER_ERASED else command.issued_by,
    }
