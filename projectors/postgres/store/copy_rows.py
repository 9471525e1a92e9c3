"""Rows for PostgreSQL's binary COPY, packed by hand: twice as fast as adapting each value.

A row is the number of its values (16 bits), then each value after its length (32 bits); a null has
the length -1 and no value.
"""

import struct
from collections.abc import Iterable
from typing import Any, Final, LiteralString

import orjson
import psycopg

from schemas.errors import Poisoned

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"
LENGTH: Final = struct.Struct(">i")
NULL: Final = LENGTH.pack(-1)
# A `timestamptz` is (milliseconds since 1970 - EPOCH_MS) * 1000: microseconds since the year 2000.
# Inlined where rows are packed, because a call would cost a tenth of the time of a row.
EPOCH_MS: Final = 946_684_800_000


def copy_rows(cursor: psycopg.Cursor[Any], statement: LiteralString, rows: Iterable[bytes]) -> None:
    """Send packed rows through a COPY statement.

    Raises `Poisoned` (`postgres_refused`), before anything is sent, if `rows` raises because a
    value cannot be packed: a number out of range, a user id that is not a UUID, a lone surrogate.
    """
    try:
        data = b"".join([HEADER, *rows, TRAILER])
    except (struct.error, ValueError, orjson.JSONEncodeError):
        raise Poisoned("a value does not fit its column", code="postgres_refused") from None
    with cursor.copy(statement) as copy:
        copy.write(data)
