"""Compares the read model `history` with `user-history`, each up to the very same record."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import psycopg
from psycopg.rows import dict_row

from projectors.postgres.store.database import Database
from runtime.settings import Settings
from schemas.topics import HISTORY
from scripts.verify.facts import Entry
from scripts.verify.findings import Check
from scripts.verify.history_checks import HistoryChecks, fold
from scripts.verify.reader import LogReader

_PAGE = 5_000
_OFFSETS = "SELECT partition, next_offset FROM {schema}.checkpoints"
# The shard is in the 12 bits after the version digit of the id.
_ROWS = """
SELECT user_id::text AS user_id, version, seq, type, command_id, changes,
       (extract(epoch FROM occurred_at) * 1000)::bigint AS occurred_at,
       email, email_key, name, age,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_at, created_by
FROM {schema}.user_history
WHERE ((get_byte(uuid_send(user_id), 6) & 15) * 256 + get_byte(uuid_send(user_id), 7))
      * %s >> 12 = %s"""


def check_history(settings: Settings, reader: LogReader, version: int) -> list[Check]:
    """Check the rows of one moment against the log up to the checkpoint of that moment."""
    checks = HistoryChecks()
    with (
        closing(Database(settings, read_model="history", version=version)) as database,
        database.session() as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        offsets = dict(connection.execute(database.statement(_OFFSETS)).fetchall())
        statement = database.statement(_ROWS)
        for partition in range(settings.partitions):
            entries = _before(reader.read(HISTORY, partition), offsets.get(partition, 0))
            left = fold(entries, settings.partitions)
            checks.partition(left, _rows(connection, statement, settings.partitions, partition))
    return [checks.same, checks.erased]


def _before(entries: Iterator[Entry], offset: int) -> Iterator[Entry]:
    # Read to the end all the same: the reader's consumer is then free for the next.
    return (entry for entry in entries if entry.offset < offset)


def _rows(
    connection: psycopg.Connection[Any], statement: Any, *parameters: int
) -> Iterator[Mapping[str, Any]]:
    with connection.cursor("verify_history", row_factory=dict_row) as cursor:
        cursor.itersize = _PAGE
        cursor.execute(statement, parameters)
        yield from cursor
