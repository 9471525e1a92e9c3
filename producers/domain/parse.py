"""Reads command records: from what anybody may have written to what the aggregate decides."""

from producers.domain.aggregate import (
    ChangeEmail,
    Command,
    CreateUser,
    DeleteUser,
    EraseUser,
    UpdateUser,
)
from schemas import rules
from schemas.errors import Rejected
from schemas.identity import parse_user_id
from schemas.records import (
    CHANGE_EMAIL,
    CREATE_USER,
    DELETE_USER,
    ERASE_USER,
    UPDATE_USER,
    UserCommand,
)


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
    if kind not in {UPDATE_USER, CHANGE_EMAIL, DELETE_USER, ERASE_USER}:
        raise Rejected("the kind of command is unknown", code="invalid_command")
    user_id = parse_user_id(record.get("user_id") or "")
    expected = record.get("expected_version")
    expected = None if expected is None else rules.clean_version(expected)
    if kind == UPDATE_USER:
        return _read_update(record, user_id, expected)
    if kind == CHANGE_EMAIL:
        return ChangeEmail(user_id, rules.clean_email(record.get("email")), expected)
    return (DeleteUser if kind == DELETE_USER else EraseUser)(user_id, expected)


def _read_update(record: UserCommand, user_id: str, expected: int | None) -> UpdateUser:
    name, age = record.get("name"), record.get("age")
    if name is None and age is None:
        raise Rejected("an update names no field", code="invalid_command")
    return UpdateUser(
        user_id,
        None if name is None else rules.clean_name(name),
        None if age is None else rules.clean_age(age),
        expected,
    )
