"""The user aggregate: what a command changes and what a user is after it.

No I/O, no clock, no randomness: time and ids are passed in, so every rule is tested by
given → when → then.
"""

from dataclasses import dataclass
from typing import TypeAlias, cast

from schemas import rules
from schemas.errors import Rejected
from schemas.identity import email_key, parse_user_id
from schemas.records import CREATE_USER, UPDATE_USER, FieldChange, User, UserCommand


@dataclass(frozen=True, slots=True)
class CreateUser:
    """Ask for a new user; the fields are cleaned."""

    command_id: str
    email: str
    name: str
    age: int


@dataclass(frozen=True, slots=True)
class UpdateUser:
    """Ask for another name or age; None leaves the field as it is."""

    user_id: str
    name: str | None = None
    age: int | None = None
    expected_version: int | None = None


Command: TypeAlias = CreateUser | UpdateUser


@dataclass(frozen=True, slots=True)
class Created:
    """A user came to be."""

    user: User


@dataclass(frozen=True, slots=True)
class Updated:
    """Fields took other values; never empty."""

    fields: list[FieldChange]


Change: TypeAlias = Created | Updated


def read_command(record: UserCommand) -> Command:
    """Return what `record` asks, every field cleaned.

    Raises `Rejected` (`invalid_command`) if a field breaks a rule or the kind is unknown. The
    clients checked the same rules; this is the check that counts.
    """
    kind = record["kind"]
    if kind == CREATE_USER:
        return CreateUser(
            record["command_id"],
            rules.clean_email(record.get("email")),
            rules.clean_name(record.get("name")),
            rules.clean_age(record.get("age")),
        )
    if kind == UPDATE_USER:
        return _read_update(record)
    raise Rejected("the kind of command is unknown", code="invalid_command")


def _read_update(record: UserCommand) -> UpdateUser:
    user_id = parse_user_id(record.get("user_id") or "")
    name, age, expected = record.get("name"), record.get("age"), record.get("expected_version")
    if name is None and age is None:
        raise Rejected("an update names no field", code="invalid_command")
    return UpdateUser(
        user_id,
        None if name is None else rules.clean_name(name),
        None if age is None else rules.clean_age(age),
        None if expected is None else rules.clean_version(expected),
    )


def decide(
    user: User | None, command: Command, *, version: int, holder_id: str | None, now: int
) -> Change | None:
    """Say what `command` changes, or raise `Rejected`; never both, never partly.

    `user` at `version` is the one the command is about, None if there is none (any more);
    `holder_id` the live user who holds a creation's address; `now` in milliseconds. None means that
    the command is accepted and changes nothing.
    """
    if isinstance(command, CreateUser):
        if holder_id is not None:
            raise Rejected(
                "another user holds this e-mail address",
                code="user_already_exists",
                user_id=holder_id,
            )
        return Created(
            {
                "email": command.email,
                "email_key": email_key(command.email),
                "name": command.name,
                "age": command.age,
                "created_at": now,
                "created_by": command.command_id,
            }
        )
    if user is None:
        raise Rejected("there is no such user", code="user_not_found")
    if command.expected_version not in (None, version):
        raise Rejected(
            f"the user is at version {version}, not {command.expected_version}",
            code="version_conflict",
        )
    fields: list[FieldChange] = []
    if command.name is not None and command.name != user["name"]:
        fields.append({"field": "name", "before": user["name"], "after": command.name})
    if command.age is not None and command.age != user["age"]:
        fields.append({"field": "age", "before": user["age"], "after": command.age})
    return Updated(fields) if fields else None


def evolve(user: User | None, change: Change) -> User:
    """Return the user after `change`."""
    if isinstance(change, Created):
        return change.user
    if user is None:
        raise AssertionError("only a live user is updated")
    after = {item["field"]: item["after"] for item in change.fields}
    return cast("User", {**user, **after})
