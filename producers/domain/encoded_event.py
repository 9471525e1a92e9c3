"""Packs a user straight from the bytes of an event: a restore does nothing else for most records.

Decoding an event, checking it and packing its user takes about twice as long. Only ordinary events
are packed here: for any other, `schemas.trust` and `producers.domain.snapshot` have the rules, and
say what is wrong.
"""

import re
from binascii import unhexlify
from typing import Final, TypeAlias, TypedDict

from producers.domain.snapshot import (
    ERASED,
    GONE,
    HEAD,
    SAME_COMMAND,
    SAME_KEY,
    UUID_COMMAND,
    UUID_CREATED_BY,
)
from schemas.fields.rules import STORED_AGE_MAX_YEARS
from schemas.identity import partition_of
from schemas.records import USER_ERASED
from schemas.trust import CANONICAL_ID, MAX_TIME_MS, MAX_VERSION

_ERASED_TYPE: Final = USER_ERASED.encode()
_is_uuid = re.compile(CANONICAL_ID.pattern.encode()).fullmatch


class EncodedUser(TypedDict):
    """A user with its texts as bytes, each shorter than 64."""

    email: bytes
    email_key: bytes
    name: bytes
    age: int
    created_at: int
    created_by: bytes


class EncodedEvent(TypedDict):
    """What a restore reads of an event: what `schemas.coding.projection` decodes for it."""

    command_id: bytes
    seq: int
    user_id: bytes
    version: int
    occurred_at: int
    type: bytes
    user: EncodedUser | None


# The 16 bytes of a user id, its version, the packed user, and the event's seq and time.
PackedEvent: TypeAlias = tuple[bytes, int, bytes, int, int]


def pack_event(
    event: EncodedEvent, key: bytes | None, partition: int, partitions: int
) -> PackedEvent | None:
    """Return what `pack` makes of the event's user, and what else a partition keeps.

    None if the event is not ordinary, or if `check_event` refuses it.
    """
    user_id, user = event["user_id"], event["user"]
    version, seq, occurred_at = event["version"], event["seq"], event["occurred_at"]
    if (
        key != user_id
        or not _is_uuid(user_id)
        or partition_of(int(user_id[15:18], 16), partitions) != partition
        or not 1 <= version <= MAX_VERSION
        or not 1 <= seq <= MAX_VERSION
        or not 0 <= occurred_at <= MAX_TIME_MS
    ):
        return None
    try:
        if user is not None:
            packed = _packed_user(version, seq, event["command_id"], user)
        else:
            command, flags = _packed_id(event["command_id"], UUID_COMMAND)
            flags |= GONE | (ERASED if event["type"] == _ERASED_TYPE else 0)
            packed = HEAD.pack(version, seq, 0, 0, flags, 0, 0, 0, len(command), 0) + command
    except ValueError:
        return None
    return unhexlify(user_id.replace(b"-", b"")), version, packed, seq, occurred_at


def _packed_user(version: int, seq: int, command_id: bytes, user: EncodedUser) -> bytes:
    """Raises `ValueError` if the user is not ordinary."""
    email, key, name, created_by = (
        user["email"],
        user["email_key"],
        user["name"],
        user["created_by"],
    )
    created_at, age = user["created_at"], user["age"]
    if not (0 <= created_at <= MAX_TIME_MS and 0 <= age <= STORED_AGE_MAX_YEARS):
        raise ValueError
    command, flags = _packed_id(command_id, UUID_COMMAND)
    if key == email:
        key, flags = b"", flags | SAME_KEY
    if created_by == command_id:
        created_by, flags = b"", flags | SAME_COMMAND
    else:
        created_by, flag = _packed_id(created_by, UUID_CREATED_BY)
        flags |= flag
    texts = b"".join((email, key, name))
    if not texts.isascii():
        email.decode(), key.decode(), name.decode()
    lengths = len(email), len(key), len(name), len(command), len(created_by)
    return b"".join(
        (HEAD.pack(version, seq, created_at, age, flags, *lengths), texts, command, created_by)
    )


def _packed_id(command_id: bytes, flag: int) -> tuple[bytes, int]:
    """Return a command id as `pack` writes it. Raises `ValueError` if it is not UTF-8."""
    if _is_uuid(command_id):
        return unhexlify(command_id.replace(b"-", b"")), flag
    command_id.decode()
    return command_id, 0
