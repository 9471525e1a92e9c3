"""The tables of one version of a read model, written together with their checkpoint.

Rows and checkpoint are written in one transaction, the checkpoint by compare-and-set. Writing stops
as soon as another process writes the version or the version is dropped.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from projectors.contract.read_model import Advance, Position
from projectors.contract.refusals import tables_missing, version_dropped
from projectors.postgres.store.database import MISSING, Database
from projectors.postgres.store.shape import StoredVersion
from runtime.closing import Closing
from runtime.settings import Settings
from schemas.errors import Fenced, Unavailable

_ROWS_PER_FETCH: Final = 5_000
# synchronous_commit: rows and checkpoint are in one commit, so a crash of the server loses both or
# neither, and the log still has what was lost. Waiting for the disk would gain nothing.
# transaction_timeout: a writer that crashed or froze would keep its row locks until the server's
# keepalives notice, hours later. `idle_in_transaction_session_timeout` does not fire after
# pipelined statements, as psycopg's executemany sends; this one does (PostgreSQL 17 and later).
WRITER_SESSION: Final = {"synchronous_commit": "off", "transaction_timeout": "120s"}

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
# A shared lock: writers of different partitions do not wait for each other, only for `finish`.
_STILL_UNFINISHED: Final = """
SELECT FROM {home}.model_versions
WHERE model = %s AND number = %s AND NOT finished FOR SHARE"""
_LISTED: Final = """
SELECT FROM {home}.model_versions WHERE model = %s AND number = %s AND state <> 'dropped'"""
# Every id of ours ends in random bits, whatever its version (RFC 9562).
_OF_PART: Final = " WHERE get_byte(uuid_send(user_id), 15) % {parts} = {part}"
# For a retried dead letter. No replay would apply it again, so it must survive a crash, and no
# other transaction may erase its user meanwhile: each of our statements sees what was committed
# when it began, so the check for an erasure and the insertion must not be overtaken by one.
_ALONE: Final = "LOCK TABLE {schema}.checkpoints IN SHARE ROW EXCLUSIVE MODE"


# Which of how many parts of the rows.
Part: TypeAlias = tuple[int, int]


class VersionTables(Closing):
    """The tables of one version, over one connection: the base of a `ReadModel`. Not thread-safe.

    `incoming`, if given, creates a temporary table in every new session; `session` are additional
    settings of its sessions.
    """

    def __init__(
        self,
        settings: Settings,
        read_model: str,
        stored: StoredVersion,
        *,
        incoming: LiteralString | None = None,
        session: Mapping[str, str] | None = None,
    ) -> None:
        self.version = stored.number
        self.database = Database(
            settings,
            read_model=read_model,
            version=stored.number,
            session={**WRITER_SESSION, **(session or {})},
        )
        self._incoming = incoming
        self._prepared: psycopg.Connection[Any] | None = None  # where `incoming` was run
        self._key = (read_model, stored.number)
        self._unfinished = stored.unfinished
        self._checkpoint = self.database.statement(_CHECKPOINT)
        self._first_step = self.database.statement(_FIRST_STEP)
        self._next_step = self.database.statement(_NEXT_STEP)
        self._still_unfinished = self.database.statement(_STILL_UNFINISHED)
        self._listed = self.database.statement(_LISTED)
        self._alone = self.database.statement(_ALONE)

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written.

        Raises `Dropped`, or `Unavailable` (`tables_missing`) if the version is still listed.
        """
        with self._existing(), self.database.session() as connection:
            rows = connection.execute(self._checkpoint).fetchall()
        return {partition: Position(*position) for partition, *position in rows}

    @contextmanager
    def step(self, advances: Mapping[int, Advance]) -> Iterator[psycopg.Cursor[Any]]:
        """Advance the checkpoint and lend a cursor for the rows, in one transaction.

        The checkpoint moves first, and only from the expected position, so a stale process fails
        before it has changed anything. Raises `Fenced` in that case, `Dropped`, otherwise what
        `Database.session` raises.
        """
        with self._existing(), self.database.session() as connection:
            self._prepare(connection)
            with connection.transaction():
                cursor = connection.cursor()
                if self._unfinished:
                    cursor.execute(self._still_unfinished, self._key)
                    if not cursor.rowcount:
                        raise Fenced(f"another process finished {self.database.schema}")
                self._advance(cursor, advances)
                if not advances:
                    cursor.execute(self._alone)
                    cursor.execute("SET LOCAL synchronous_commit = on")
                yield cursor

    def make_visible(self) -> None:
        """Do nothing: committed rows are visible."""

    def divide_rows(self, parts: int) -> AbstractContextManager[Sequence[Part]]:
        """Divide the rows by the last byte of the user's id; see `DividesRows`."""
        return nullcontext([(part, parts) for part in range(parts)])

    def fetch(
        self, text: LiteralString, part: Part | None = None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the result of a query, or a part of it, some thousand rows at a time.

        All are from one snapshot.
        """
        statement = self.database.statement(text)
        if part is not None:
            number, parts = map(sql.Literal, part)
            statement = self.database.statement(text + _OF_PART, part=number, parts=parts)
        with (
            self._existing(),
            self.database.session() as connection,
            connection.transaction(),
            connection.cursor("rows") as cursor,
        ):
            connection.execute("SET LOCAL transaction_timeout = 0")  # however many rows there are
            cursor.execute(statement)
            while rows := cursor.fetchmany(_ROWS_PER_FETCH):
                yield rows

    def close(self) -> None:
        """Close the connection."""
        self.database.close()

    def _prepare(self, connection: psycopg.Connection[Any]) -> None:
        # Not when connecting: a server that is read-only can still be asked for the checkpoint.
        if self._incoming and connection is not self._prepared:
            connection.execute(self._incoming)
            self._prepared = connection

    def _advance(self, cursor: psycopg.Cursor[Any], advances: Mapping[int, Advance]) -> None:
        first, following = [], []
        for partition in sorted(advances):  # all writers use one order, so they cannot deadlock
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
                raise Fenced(f"another process moved the checkpoint of {self.database.schema}")

    @contextmanager
    def _existing(self) -> Iterator[None]:
        """Turn the error of missing tables into `Dropped`, if the version is not listed either."""
        try:
            yield
        except Unavailable as error:
            if error.code != MISSING:
                raise
            explain = tables_missing if self._is_listed() else version_dropped
            raise explain(*self._key) from None

    def _is_listed(self) -> bool:
        try:
            with self.database.session() as connection:
                return connection.execute(self._listed, self._key).rowcount > 0
        except Unavailable as error:
            if error.code == MISSING:  # the whole read model is missing
                return False
            raise


def _columns(position: Position) -> tuple[str, int, int]:
    return position.topic_id, position.next_offset, position.last_seq
