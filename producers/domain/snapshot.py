"""What is known of one user, and its packed form.

A handler keeps every user of its partitions in memory. As one packed `bytes` a user takes half the
memory of a tuple of strings.
"""

from struct import Struct
from typing import NamedTuple

from schemas.identity import uuid_bytes, uuid_text
from schemas.records import USER_ERASED, User, UserEvent

# Of a packed user (`producers.domain.encoded_event` packs users as well):
# version, seq, created_at, age, flags, then the lengths in bytes of the texts that follow.
HEAD = Struct("<QQqHBHHHBB")
GONE, ERASED, SAME_KEY, SAME_COMMAND, UUID_COMMAND, UUID_CREATED_BY = 1, 2, 4, 8, 16, 32
_UUID_CHARACTERS = 36


class UserSnapshot(NamedTuple):
    """One user after its last event; `user` is None once it is deleted or erased."""

    version: int
    seq: int
    command_id: str
    user: User | None
    erased: bool


def snapshot_of(event: UserEvent) -> UserSnapshot:
    """Return what is known of a user after `event`."""
    erased = event["type"] == USER_ERASED
    return UserSnapshot(event["version"], event["seq"], event["command_id"], event["user"], erased)


def pack(snapshot: UserSnapshot) -> bytes:
    """Return `snapshot` as bytes: a head of numbers, then the texts, equal texts only once."""
    user, command, flags = snapshot.user, *_pack_id(snapshot.command_id, UUID_COMMAND)
    version, seq = snapshot.version, snapshot.seq
    if user is None:
        flags |= GONE | (ERASED if snapshot.erased else 0)
        return HEAD.pack(version, seq, 0, 0, flags, 0, 0, 0, len(command), 0) + command
    email, key, name = user["email"].encode(), b"", user["name"].encode()
    created_by, flags = b"", flags | SAME_KEY | SAME_COMMAND
    if user["email_key"] != user["email"]:
        key, flags = user["email_key"].encode(), flags & ~SAME_KEY
    if user["created_by"] != snapshot.command_id:
        created_by, is_uuid = _pack_id(user["created_by"], UUID_CREATED_BY)
        flags = (flags | is_uuid) & ~SAME_COMMAND
    head = HEAD.pack(
        version,
        seq,
        user["created_at"],
        user["age"],
        flags,
        len(email),
        len(key),
        len(name),
        len(command),
        len(created_by),
    )
    return b"".join((head, email, key, name, command, created_by))


def unpack(packed: bytes) -> UserSnapshot:
    """Return what `pack` was given."""
    version, seq, created_at, age, flags, *lengths = HEAD.unpack_from(packed)
    parts, start = [], HEAD.size
    for length in lengths:
        parts.append(packed[start : start + length])
        start += length
    email, key, name = (part.decode() for part in parts[:3])
    command_id = uuid_text(parts[3]) if flags & UUID_COMMAND else parts[3].decode()
    if flags & GONE:
        return UserSnapshot(version, seq, command_id, None, bool(flags & ERASED))
    created_by = uuid_text(parts[4]) if flags & UUID_CREATED_BY else parts[4].decode()
    user: User = {
        "email": email,
        "email_key": email if flags & SAME_KEY else key,
        "name": name,
        "age": age,
        "created_at": created_at,
        "created_by": command_id if flags & SAME_COMMAND else created_by,
    }
    return UserSnapshot(version, seq, command_id, user, erased=False)


def _pack_id(command_id: str, flag: int) -> tuple[bytes, int]:
    """Return a command id as bytes; with `flag` if it is a UUID, packed to less than half."""
    if len(command_id) == _UUID_CHARACTERS:
        try:
            packed = uuid_bytes(command_id)
        except ValueError:
            return command_id.encode(), 0
        if uuid_text(packed) == command_id:
            return packed, flag
    return command_id.encode(), 0


def packed_key(packed: bytes) -> bytes | None:
    """Return the key of a packed user's address, None for a user who is gone.

    Takes a third of the time of `unpack`.
    """
    _, _, _, _, flags, email_bytes, key_bytes, *_ = HEAD.unpack_from(packed)
    if flags & GONE:
        return None
    start, length = HEAD.size, email_bytes
    if not flags & SAME_KEY:
        start, length = start + email_bytes, key_bytes
    return packed[start : start + length]


def packed_version(packed: bytes) -> int:
    """Return the version of a packed user without unpacking the rest."""
    return int.from_bytes(packed[:8], "little")
