"""The tables of one read model in PostgreSQL, and its checkpoint beside them.

What every read model there needs and none should write again: tables made once by whoever comes
first, and data that moves in the same transaction as the checkpoint, by compare-and-set.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from projectors.postgres.database import MISSING, Database
from projectors.read_model import Advance, Position
from schemas.errors import Fenced, Unavailable

# Rows of PostgreSQL's binary COPY, made by hand: twice as fast as one adapted value at a time. Each
# value follows its length; a length of -1 is NULL.
COPY_BEGIN: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_END: Final = b"\xff\xff"

_CREATE_CHECKPOINTS: Final = """
CREATE TABLE IF NOT EXISTS {schema}.{checkpoints} (
    partition integer PRIMARY KEY,
    topic_id text NOT NULL,
    next_offset bigint NOT NULL,
    last_seq bigint NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
_DROP_CHECKPOINTS: Final = "DROP TABLE IF EXISTS {schema}.{checkpoints} CASCADE"
_CHECKPOINT: Final = """
SELECT partition, topic_id, next_offset, last_seq,
       (extract(epoch FROM applied_at) * 1000)::bigint
FROM {schema}.{checkpoints}"""
_FIRST_STEP: Final = """
INSERT INTO {schema}.{checkpoints} (partition, topic_id, next_offset, last_seq)
VALUES (%s, %s, %s, %s) ON CONFLICT (partition) DO NOTHING"""
_NEXT_STEP: Final = """
UPDATE {schema}.{checkpoints}
SET topic_id = %s, next_offset = %s, last_seq = %s, applied_at = clock_timestamp()
WHERE partition = %s AND topic_id = %s AND next_offset = %s AND last_seq = %s"""
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_CREATE_SCHEMA: Final = "CREATE SCHEMA IF NOT EXISTS {schema}"


class Tables:
    """The tables that the statements `create` make and `drop` remove, and the table `checkpoints`.

    The statements may be run again and again. Not for several threads.
    """

    def __init__(
        self,
        database: Database,
        *,
        create: Sequence[LiteralString],
        drop: Sequence[LiteralString],
        checkpoints: LiteralString,
    ) -> None:
        self._database = database

        def statement(text: LiteralString) -> sql.Composed:
            return database.statement(text, checkpoints=sql.Identifier(checkpoints))

        self._create = [statement(t) for t in (_CREATE_SCHEMA, *create, _CREATE_CHECKPOINTS)]
        # The checkpoint first: the order a writer takes its locks in, so that none waits for the
        # other for ever.
        self._drop = [statement(text) for text in (_DROP_CHECKPOINTS, *drop)]
        self._checkpoint = statement(_CHECKPOINT)
        self._first_step = statement(_FIRST_STEP)
        self._next_step = statement(_NEXT_STEP)

    def prepare(self) -> None:
        """Create what is missing. Idempotent; safe side by side."""
        with self._database.session() as connection, connection.transaction():
            self._lock(connection)
            self._run(connection, self._create)

    def reset(self) -> None:
        """Empty everything in one transaction: nobody sees the tables missing."""
        with self._database.session() as connection, connection.transaction():
            self._lock(connection)
            self._run(connection, [*self._drop, *self._create])

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written; none before `prepare`."""
        try:
            with self._database.session() as connection:
                return self.checkpoint_seen_by(connection)
        except Unavailable as error:
            if error.code == MISSING:
                return {}
            raise

    def checkpoint_seen_by(self, connection: psycopg.Connection[Any]) -> dict[int, Position]:
        """Return the checkpoint as the transaction of `connection` sees it."""
        rows = connection.execute(self._checkpoint).fetchall()
        return {partition: Position(*position) for partition, *position in rows}

    @contextmanager
    def step(self, advances: Mapping[int, Advance]) -> Iterator[psycopg.Cursor[Any]]:
        """Advance the checkpoint and lend a cursor for the data, in one transaction.

        The checkpoint moves first, from exactly where it was: a zombie stops there, having changed
        nothing. Raises `Fenced` for one, or if the tables were removed, else as `Database.session`.
        """
        try:
            with self._database.session() as connection, connection.transaction():
                cursor = connection.cursor()
                self._advance(cursor, advances)
                yield cursor
        except Unavailable as error:
            if error.code == MISSING:
                raise Fenced("the read model was removed while it was written") from None
            raise

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

    def _lock(self, connection: psycopg.Connection[Any]) -> None:
        # Even CREATE … IF NOT EXISTS fails when two sessions run it at the same moment.
        connection.execute(_LOCK, (self._database.schema,))

    def _run(self, connection: psycopg.Connection[Any], statements: Sequence[sql.Composed]) -> None:
        for statement in statements:
            connection.execute(statement)


def _columns(position: Position) -> tuple[str, int, int]:
    return position.topic_id, position.next_offset, position.last_seq
