"""The user aggregate: what a command changes and what a user is after it.

No I/O, no clock, no randomness: time and ids are passed in, so every rule is tested by
given → when → then. Named tuples, because two are made for each command, and a frozen dataclass
takes three times as long.
"""

from typing import NamedTuple, TypeAlias, cast

from schemas.errors import Rejected
from schemas.identity import email_key
from schemas.records import FieldChange, User


class CreateUser(NamedTuple):
    """Ask for a new user; the fields are cleaned."""

    command_id: str
    email: str
    name: str
    age: int


class UpdateUser(NamedTuple):
    """Ask for another name or age; None leaves the field as it is."""

    user_id: str
    name: str | None = None
    age: int | None = None
    expected_version: int | None = None


class ChangeEmail(NamedTuple):
    """Ask for another address."""

    user_id: str
    email: str
    expected_version: int | None = None


class DeleteUser(NamedTuple):
    """Ask that a user be gone; the history stays."""

    user_id: str
    expected_version: int | None = None


class EraseUser(NamedTuple):
    """Ask that nothing personal of a user, live or gone, be left."""

    user_id: str
    expected_version: int | None = None


AboutUser: TypeAlias = UpdateUser | ChangeEmail | DeleteUser | EraseUser
Command: TypeAlias = CreateUser | AboutUser


class Created(NamedTuple):
    """A user came to be."""

    user: User


class Updated(NamedTuple):
    """Fields took other values; never empty."""

    fields: list[FieldChange]


class EmailChanged(NamedTuple):
    """The address took another value, and with it its key."""

    fields: list[FieldChange]
    email_key: str


class Deleted(NamedTuple):
    """The user is gone; the fields tell what was there."""

    fields: list[FieldChange]


class Erased(NamedTuple):
    """The user is gone and nothing of it is told."""


Change: TypeAlias = Created | Updated | EmailChanged | Deleted | Erased


class Standing(NamedTuple):
    """What is known of the user that a command is about: never there, live, gone or erased.

    `version` is 0 if it never was; `user` is None unless it is live.
    """

    user: User | None = None
    version: int = 0
    erased: bool = False


def decide(
    standing: Standing, command: Command, *, holder_id: str | None, now: int
) -> Change | None:
    """Say what `command` changes, or raise `Rejected`; never both, never partly.

    `holder_id` is another live user who holds the address that a creation or a change asks for;
    `now` is in milliseconds. None means that the command is accepted and changes nothing.
    """
    if isinstance(command, CreateUser):
        _require_free(holder_id)
        return Created(_new_user(command, now))
    user, version = standing.user, standing.version
    if user is None and not (isinstance(command, EraseUser) and version):
        raise Rejected("there is no such user", code="user_not_found")
    if command.expected_version not in (None, version):
        raise Rejected(
            f"the user is at version {version}, not {command.expected_version}",
            code="version_conflict",
        )
    if isinstance(command, EraseUser):
        return None if standing.erased else Erased()
    if user is None:
        raise AssertionError("only an erasure is about one who is gone")
    if isinstance(command, UpdateUser):
        return _update(user, command)
    if isinstance(command, ChangeEmail):
        return _change_email(user, command, holder_id)
    return Deleted([_field(name, user[name], None) for name in ("email", "name", "age")])


def _require_free(holder_id: str | None) -> None:
    if holder_id is not None:
        raise Rejected(
            "another user holds this e-mail address",
            code="user_already_exists",
            user_id=holder_id,
        )


def _new_user(command: CreateUser, now: int) -> User:
    return {
        "email": command.email,
        "email_key": email_key(command.email),
        "name": command.name,
        "age": command.age,
        "created_at": now,
        "created_by": command.command_id,
    }


def _update(user: User, command: UpdateUser) -> Updated | None:
    fields: list[FieldChange] = []
    if command.name is not None and command.name != user["name"]:
        fields.append(_field("name", user["name"], command.name))
    if command.age is not None and command.age != user["age"]:
        fields.append(_field("age", user["age"], command.age))
    return Updated(fields) if fields else None


def _change_email(user: User, command: ChangeEmail, holder_id: str | None) -> EmailChanged | None:
    if command.email == user["email"]:
        return None
    _require_free(holder_id)
    fields = [_field("email", user["email"], command.email)]
    return EmailChanged(fields, email_key(command.email))


def _field(name: str, before: str | int | None, after: str | int | None) -> FieldChange:
    return {"field": name, "before": before, "after": after}


def evolve(user: User | None, change: Change) -> User | None:
    """Return the user after `change`; None once it is gone."""
    if isinstance(change, Created):
        return change.user
    if isinstance(change, Deleted | Erased):
        return None
    if user is None:
        raise AssertionError("only a live user is changed")
    after = {item["field"]: item["after"] for item in change.fields}
    if isinstance(change, EmailChanged):
        after["email_key"] = change.email_key
    return cast("User", {**user, **after})
