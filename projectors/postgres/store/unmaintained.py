"""Erases users from a version that this release cannot write, because it has unknown columns.

Its projector belongs to a newer release and may not run for months. The rows of users who are gone
from the live version lose their data here too. The version's checkpoint stays: the newer release
will apply the erasures itself when it runs again, as if nothing had happened.
"""

from contextlib import closing
from typing import Any, Final

import psycopg
from psycopg import sql

from projectors.postgres.store.database import Database
from projectors.postgres.store.shape import TableShape
from runtime.roles.postgres import version_schema
from runtime.settings import Settings

_CLEARED: Final = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
  AND NOT attnotnull AND attname <> ALL(%s)"""
_CLEAR: Final = """
UPDATE {schema}.{table} AS stored SET {changes} FROM {live}.{table} AS live
WHERE live.user_id = stored.user_id AND stored.version < live.version
  AND live.{gone} AND NOT stored.{gone}"""
_DELETE: Final = """
DELETE FROM {schema}.{table} AS stored USING {live}.{table} AS live
WHERE live.user_id = stored.user_id AND stored.version < live.version AND live.{gone}"""


def erase_gone_users(
    settings: Settings, read_model: str, shape: TableShape, *, number: int, live: int
) -> int:
    """Erase from version `number` who is gone from version `live`; return the number of rows.

    Raises `Unavailable`.
    """
    if shape.gone is None:
        return 0
    database = Database(settings, read_model=read_model, version=number)
    with closing(database), database.session() as connection:
        names = {
            "table": sql.Identifier(shape.table),
            "live": sql.Identifier(version_schema(settings, read_model, live)),
            "gone": sql.SQL(shape.gone),
        }
        if not shape.counted:
            return connection.execute(database.statement(_DELETE, **names)).rowcount
        changes = _changes(connection, database, shape)
        return connection.execute(database.statement(_CLEAR, changes=changes, **names)).rowcount


def _changes(
    connection: psycopg.Connection[Any], database: Database, shape: TableShape
) -> sql.Composable:
    """Return assignments of null to all columns that allow it and that no counter needs."""
    table = sql.Identifier(database.schema, shape.table).as_string(connection)
    found = connection.execute(_CLEARED, (table, list(shape.counted))).fetchall()
    return sql.SQL(", ").join(
        sql.SQL("{} = NULL").format(sql.Identifier(name)) for (name,) in found
    )
