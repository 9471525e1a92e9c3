"""How far a partition is decided, recorded on the log beside what was decided.

A consumer group's offsets expire: those of a topic that no member subscribes to a week after they
were committed, all of them once the group has been empty for a week. So handlers keep this record
in `user-emails` as well, where compaction keeps the latest (docs/decisions/0022).
"""

from dataclasses import asdict, dataclass

import orjson

from schemas.errors import Poisoned

POSITION_KEY = b"position"


@dataclass(frozen=True, slots=True)
class Position:
    """The first command and the first address message that are not decided, by offset.

    `seq` is that of the partition's last event then.
    """

    commands: int
    address_messages: int
    seq: int


def encode_position(position: Position) -> bytes:
    """Return the value of the record: JSON, which needs no schema registry."""
    return orjson.dumps(asdict(position))


def decode_position(value: bytes | None) -> Position:
    """Return the position that a record holds; raises `Poisoned` if no handler wrote it."""
    try:
        found = orjson.loads(value or b"")
        position = Position(found["commands"], found["address_messages"], found["seq"])
    except (ValueError, TypeError, KeyError):
        position = None
    if position is None or not all(type(one) is int and one >= 0 for one in _numbers(position)):
        raise Poisoned("a recorded position is not one that a handler writes", code="bad_position")
    return position


def _numbers(position: Position) -> tuple[int, int, int]:
    return position.commands, position.address_messages, position.seq
