"""Removes from PostgreSQL's files what was deleted from the table of one version.

A vacuum alone is not enough. It makes the space of a dead row free, but the bytes stay until
another row is written there; and a GIN index keeps every word that it ever contained: versions of
earlier releases have one, and operators may add others. A small table is therefore rewritten
(`VACUUM FULL`), which locks it for less than a second. In a large one the GIN indexes are rebuilt
concurrently, and the free space is overwritten as the table is used.
"""

import re
from contextlib import closing
from typing import Any, Final

import psycopg
from psycopg import sql

from projectors.postgres.store.database import Database
from projectors.postgres.store.shape import TableShape
from runtime.settings import Settings

# About 50,000 users; rewritten with all indexes in less than a second.
REWRITTEN_BYTES: Final = 16 * 1024 * 1024
# A little less than the interval at which a process asks: all of them together rewrite once.
ONCE_IN_SECONDS = 3300.0
# Queries queue behind us while we wait for the lock of a table.
_SESSION: Final = {"lock_timeout": "2s"}
_COUNT_GONE: Final = "SELECT count(*) FROM {table} WHERE {gone}"
# `last_vacuum` is when anybody vacuumed by hand, as we do; autovacuum has its own column.
_STATE: Final = """
SELECT coalesce(last_vacuum < now() - make_interval(secs => %s), true), pg_table_size(relid)
FROM pg_stat_user_tables WHERE schemaname = %s AND relname = %s"""
_GIN_INDEXES: Final = """
SELECT relname, indisvalid FROM pg_index
JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE indrelid = to_regclass(%s) AND amname = 'gin'"""
# What a killed REINDEX CONCURRENTLY leaves: `name_ccnew`, `name_ccold1` and so on.
_LEFT_BY_REINDEX: Final = re.compile(r"_cc(new|old)\d*$")


class PostgresLeftovers:
    """Remembers how many users were gone from each version when it was last cleaned."""

    def __init__(self, settings: Settings, read_model: str, shape: TableShape) -> None:
        self._settings = settings
        self._read_model = read_model
        self._shape = shape
        self._gone: dict[int, int] = {}

    def remove(self, number: int) -> bool:
        """Rewrite what keeps deleted rows, if there are any; at most once an hour, whoever calls.

        Raises `Unavailable`, also if the table stays locked.
        """
        shape = self._shape
        if shape.gone is None:
            return False
        database = Database(
            self._settings, read_model=self._read_model, version=number, session=_SESSION
        )
        with closing(database), database.session() as connection:
            table = sql.Identifier(database.schema, shape.table)
            [[gone]] = connection.execute(
                database.statement(_COUNT_GONE, table=table, gone=sql.SQL(shape.gone))
            ).fetchall()
            found = connection.execute(
                _STATE, (ONCE_IN_SECONDS, database.schema, shape.table)
            ).fetchall()
            if gone in {0, self._gone.get(number)} or not found or not found[0][0]:
                return False
            self._rewrite(connection, database, table, found[0][1])
        self._gone[number] = gone
        return True

    def _rewrite(
        self,
        connection: psycopg.Connection[Any],
        database: Database,
        table: sql.Identifier,
        size_bytes: int,
    ) -> None:
        # With statistics, which contain values of the rows too.
        connection.execute(database.statement("VACUUM (ANALYZE) {table}", table=table))
        if size_bytes <= REWRITTEN_BYTES:
            connection.execute(database.statement("VACUUM (FULL) {table}", table=table))
            return
        found = connection.execute(_GIN_INDEXES, (table.as_string(connection),)).fetchall()
        for name, is_valid in found:
            is_left = not is_valid and _LEFT_BY_REINDEX.search(name)
            index = sql.Identifier(database.schema, name)
            connection.execute(
                database.statement(
                    "DROP INDEX {index}" if is_left else "REINDEX INDEX CONCURRENTLY {index}",
                    index=index,
                )
            )
