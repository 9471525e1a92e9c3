"""Builds the command records that a client sends, with every field checked and cleaned.

The handler checks the same rules again (`producers.domain.parse`); checking them here rejects a bad
field before anything is sent. Every function here raises `Rejected` (`invalid_command`), whose
`field` is the argument that breaks a rule.

`issued_by` says who asks, for the audit trail: the name of a key, or an opaque id, never a person.
"""

import secrets
import time
from collections.abc import Callable
from typing import Final, TypeVar

from schemas.errors import Rejected
from schemas.fields import rules
from schemas.formats import mark_key
from schemas.identity import (
    SHARDS,
    email_key,
    email_shard,
    new_user_id,
    parse_user_id,
    partition_of,
    user_shard,
)
from schemas.records import (
    CHANGE_EMAIL,
    CREATE_USER,
    DELETE_USER,
    ERASE_USER,
    UPDATE_USER,
    UserCommand,
)

T = TypeVar("T")

_RANDOM_BITS: Final = 62 + (SHARDS - 1).bit_length()


def new_command_id() -> str:
    """Return a UUIDv7: its timestamp lets `rollbook commands show` read less of the log."""
    # One call: the system's random numbers are a third of the cost of an id.
    random, shard = divmod(secrets.randbits(_RANDOM_BITS), SHARDS)
    return new_user_id(shard, _now_ms(), random)


def create_command(
    email: object,
    name: object,
    age: object,
    command_id: object = None,
    *,
    issued_by: object = None,
) -> UserCommand:
    """Return a `CreateUser` with cleaned fields."""
    return {
        "command_id": _command_id(command_id),
        "issued_at": _now_ms(),
        "kind": CREATE_USER,
        "email": _clean("email", rules.clean_email, email),
        "name": _clean("name", rules.clean_name, name),
        "age": _clean("age", rules.clean_age, age),
        "issued_by": _issued_by(issued_by),
    }


def update_command(
    user_id: object,
    name: object = None,
    age: object = None,
    expected_version: object = None,
    command_id: object = None,
    *,
    issued_by: object = None,
) -> UserCommand:
    """Return an `UpdateUser` with cleaned fields; None leaves a field as it is.

    Raises `Rejected` also if both `name` and `age` are None.
    """
    if name is None and age is None:
        raise Rejected(
            "there is nothing to update",
            code="invalid_command",
            next_step="give a name, an age or both",
        )
    command = _for_user(UPDATE_USER, user_id, expected_version, command_id, issued_by)
    command["name"] = None if name is None else _clean("name", rules.clean_name, name)
    command["age"] = None if age is None else _clean("age", rules.clean_age, age)
    return command


def change_email_command(
    user_id: object,
    email: object,
    expected_version: object = None,
    command_id: object = None,
    *,
    issued_by: object = None,
) -> UserCommand:
    """Return a `ChangeEmail` with cleaned fields."""
    command = _for_user(CHANGE_EMAIL, user_id, expected_version, command_id, issued_by)
    command["email"] = _clean("email", rules.clean_email, email)
    return command


def delete_command(
    user_id: object,
    expected_version: object = None,
    command_id: object = None,
    *,
    issued_by: object = None,
) -> UserCommand:
    """Return a `DeleteUser`."""
    return _for_user(DELETE_USER, user_id, expected_version, command_id, issued_by)


def erase_command(
    user_id: object,
    expected_version: object = None,
    command_id: object = None,
    *,
    issued_by: object = None,
) -> UserCommand:
    """Return an `EraseUser`. Its event does not keep `issued_by`: the person may have asked."""
    return _for_user(ERASE_USER, user_id, expected_version, command_id, issued_by)


def upgrade_command(
    kind: str, partition: int, partitions: int, wanted: int, issued_by: object = None
) -> UserCommand:
    """Return a `FinaliseUpgrade` of a partition to the format `wanted`, or its `CheckUpgrade`."""
    return _for_user(kind, mark_key(partition, partitions), wanted, None, issued_by)


def command_partition(command: UserCommand, partitions: int) -> int:
    """Return the partition that `command`, with cleaned fields, must be written to: its user's."""
    if command["kind"] == CREATE_USER:
        shard = email_shard(email_key(command.get("email") or ""))
    else:
        shard = user_shard(command.get("user_id") or "")
    return partition_of(shard, partitions)


def _for_user(
    kind: str, user_id: object, expected_version: object, command_id: object, issued_by: object
) -> UserCommand:
    version = None
    if expected_version is not None:
        version = _clean("expected_version", rules.clean_version, expected_version)
    return {
        "command_id": _command_id(command_id),
        "issued_at": _now_ms(),
        "kind": kind,
        "user_id": _clean("user_id", parse_user_id, user_id),
        "expected_version": version,
        "issued_by": _issued_by(issued_by),
    }


def _command_id(value: object) -> str:
    if value is None:
        return new_command_id()
    return _clean("command_id", rules.clean_command_id, value)


def _clean(field: str, clean: Callable[[object], T], value: object) -> T:
    """Return the cleaned value; an error names the field."""
    try:
        return clean(value)
    except Rejected as error:
        error.field = field
        raise


def _issued_by(value: object) -> str | None:
    return None if value is None else _clean("issued_by", rules.clean_issued_by, value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
