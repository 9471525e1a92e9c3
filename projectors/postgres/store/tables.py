"""The tables of one version of a read model in PostgreSQL: rows that move with their checkpoint.

What every read model there needs and none should write again: data that moves in the same
transaction as the checkpoint, by compare-and-set, and stops when the version is no longer ours to
write.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import psycopg

from projectors.contract.read_model import Advance, Dropped, Position
from projectors.postgres.store.database import MISSING, Database
from projectors.postgres.store.shape import StoredVersion
from schemas.errors import Fenced, Unavailable

# Rows of PostgreSQL's binary COPY, made by hand: twice as fast as one adapted value at a time. Each
# value follows its length; a length of -1 is NULL.
COPY_BEGIN: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_END: Final = b"\xff\xff"
_ROWS_A_STEP: Final = 5_000

CREATE_CHECKPOINTS: Final = """
CREATE TABLE {schema}.checkpoints (
    partition integer PRIMARY KEY,
    topic_id text NOT NULL,
    next_offset bigint NOT NULL,
    last_seq bigint NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
_CHECKPOINT: Final = """
SELECT partition, topic_id, next_offset, last_seq,
       (extract(epoch FROM applied_at) * 1000)::bigint
FROM {schema}.checkpoints"""
_FIRST_STEP: Final = """
INSERT INTO {schema}.checkpoints (partition, topic_id, next_offset, last_seq)
VALUES (%s, %s, %s, %s) ON CONFLICT (partition) DO NOTHING"""
_NEXT_STEP: Final = """
UPDATE {schema}.checkpoints
SET topic_id = %s, next_offset = %s, last_seq = %s, applied_at = clock_timestamp()
WHERE partition = %s AND topic_id = %s AND next_offset = %s AND last_seq = %s"""
# Shared, so that writers of several partitions do not wait for each other, only for `finish`.
_STILL_UNFINISHED: Final = """
SELECT FROM {home}.model_versions
WHERE model = %s AND number = %s AND NOT finished FOR SHARE"""


class Tables:
    """The tables of one version. Not for several threads."""

    def __init__(self, database: Database, read_model: str, there: StoredVersion) -> None:
        self._database = database
        self._key = (read_model, there.number)
        self._unfinished = there.unfinished
        self._checkpoint = database.statement(_CHECKPOINT)
        self._first_step = database.statement(_FIRST_STEP)
        self._next_step = database.statement(_NEXT_STEP)
        self._still_unfinished = database.statement(_STILL_UNFINISHED)

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written. Raises `Dropped`."""
        with self._there(), self._database.session() as connection:
            rows = connection.execute(self._checkpoint).fetchall()
        return {partition: Position(*position) for partition, *position in rows}

    @contextmanager
    def step(self, advances: Mapping[int, Advance]) -> Iterator[psycopg.Cursor[Any]]:
        """Advance the checkpoint and lend a cursor for the data, in one transaction.

        The checkpoint moves first, from exactly where it was: a zombie stops there, having changed
        nothing. Raises `Fenced` for one, `Dropped`, else as `Database.session`.
        """
        with self._there(), self._database.session() as connection, connection.transaction():
            cursor = connection.cursor()
            if self._unfinished and not cursor.execute(self._still_unfinished, self._key).rowcount:
                raise Fenced(f"another process finished {self._database.schema}")
            self._advance(cursor, advances)
            if not advances:
                # A dead letter that is tried again: nobody would read it anew after a crash.
                cursor.execute("SET LOCAL synchronous_commit = on")
            yield cursor

    def rows(self, text: LiteralString) -> Iterator[list[tuple[Any, ...]]]:
        """Yield what a query of one moment finds, some thousand rows at a time."""
        with (
            self._there(),
            self._database.session() as connection,
            connection.transaction(),
            connection.cursor("rows") as cursor,
        ):
            connection.execute("SET LOCAL transaction_timeout = 0")  # however many rows there are
            cursor.execute(self._database.statement(text))
            while rows := cursor.fetchmany(_ROWS_A_STEP):
                yield rows

    def _advance(self, cursor: psycopg.Cursor[Any], advances: Mapping[int, Advance]) -> None:
        first, following = [], []
        for partition in sorted(advances):  # one order for all writers: no deadlock
            before, after = advances[partition].before, advances[partition].after
            if before is None:
                first.append((partition, *_columns(after)))
            else:
                following.append((*_columns(after), partition, *_columns(before)))
        for statement, steps in ((self._next_step, following), (self._first_step, first)):
            if not steps:
                continue
            cursor.executemany(statement, steps)
            if cursor.rowcount != len(steps):
                raise Fenced(f"another process moved the checkpoint of {self._database.schema}")

    @contextmanager
    def _there(self) -> Iterator[None]:
        """Turn the error of missing tables into `Dropped`."""
        try:
            yield
        except Unavailable as error:
            if error.code == MISSING:
                model, number = self._key
                raise Dropped(f"version {number} of {model} was dropped") from None
            raise


def _columns(position: Position) -> tuple[str, int, int]:
    return position.topic_id, position.next_offset, position.last_seq
