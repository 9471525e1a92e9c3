"""Parses command records, which anyone may have written, into the commands that are decided.

Each input is parsed once: the command carries its address key, its shard and the bytes of its ids,
so that nothing after this module parses them again.
"""

from producers.domain.aggregate import (
    Address,
    ChangeEmail,
    Command,
    CreateUser,
    DeleteUser,
    EraseUser,
    UpdateUser,
    UserId,
)
from producers.domain.upgrade import UpgradeCommand
from schemas.errors import Rejected
from schemas.fields import rules
from schemas.identity import email_key, email_shard, parse_user_id, user_shard, uuid_bytes
from schemas.records import (
    CHANGE_EMAIL,
    CHECK_UPGRADE,
    CREATE_USER,
    DELETE_USER,
    ERASE_USER,
    FINALISE_UPGRADE,
    UPDATE_USER,
)
from schemas.records import UserCommand as CommandRecord

_ABOUT_AN_ID = {
    *(UPDATE_USER, CHANGE_EMAIL, DELETE_USER, ERASE_USER, FINALISE_UPGRADE, CHECK_UPGRADE)
}


def parse_command(record: CommandRecord) -> Command | UpgradeCommand:
    """Return what `record` asks, every field cleaned.

    Raises `Rejected` (`invalid_command`) if a field breaks a rule or the kind is unknown. Clients
    check the same rules before they send; this check is the one that counts.
    """
    kind, command_id = record["kind"], record["command_id"]
    issued_by = record.get("issued_by")
    if issued_by is not None:
        rules.clean_issued_by(issued_by)
    if kind == CREATE_USER:
        return CreateUser(
            command_id,
            address_of(rules.clean_email(record.get("email"))),
            rules.clean_name(record.get("name")),
            rules.clean_age(record.get("age")),
            issued_by,
        )
    if kind not in _ABOUT_AN_ID:
        raise Rejected("the kind of command is unknown", code="invalid_command")
    user_id = user_id_of(parse_user_id(record.get("user_id") or ""))
    expected = record.get("expected_version")
    expected = None if expected is None else rules.clean_version(expected)
    if kind == UPDATE_USER:
        return _parse_update(record, user_id, expected, issued_by)
    if kind == CHANGE_EMAIL:
        address = address_of(rules.clean_email(record.get("email")))
        return ChangeEmail(command_id, user_id, address, expected, issued_by)
    if kind in {FINALISE_UPGRADE, CHECK_UPGRADE}:
        wanted = rules.clean_version(expected)
        return UpgradeCommand(user_id, wanted, issued_by, only_check=kind == CHECK_UPGRADE)
    if kind == DELETE_USER:
        return DeleteUser(command_id, user_id, expected, issued_by)
    if kind == ERASE_USER:
        return EraseUser(command_id, user_id, expected, issued_by)
    raise AssertionError(kind)  # a kind of ours without a branch must not erase anybody


def _parse_update(
    record: CommandRecord, user_id: UserId, expected: int | None, issued_by: str | None
) -> UpdateUser:
    name, age = record.get("name"), record.get("age")
    if name is None and age is None:
        raise Rejected("an update names no field", code="invalid_command")
    return UpdateUser(
        record["command_id"],
        user_id,
        None if name is None else rules.clean_name(name),
        None if age is None else rules.clean_age(age),
        expected,
        issued_by,
    )


def address_of(email: str) -> Address:
    """Return a normalised address with its key and shard."""
    key = email_key(email)
    return Address(email, key, email_shard(key))


def user_id_of(text: str) -> UserId:
    """Return a canonical user id with its bytes and shard."""
    return UserId(text, uuid_bytes(text), user_shard(text))
