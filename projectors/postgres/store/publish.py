"""Publishes the tables and views of one version in the home schema, where clients query them.

A published view never loses a column, so dependent views, grants and prepared statements survive a
swap. A column that the published version lacks is null.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import errors, sql

from schemas.errors import Misconfigured, Unavailable

_COLUMNS: Final = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
# While we wait for the view's lock, its new queries queue behind us: give up soon and retry.
_WAIT_FOR_VIEW: Final = "SET LOCAL lock_timeout = '500ms'"
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.5


def publish(
    connection: psycopg.Connection[Any], schema: str, home: str, shown: Mapping[str, str]
) -> None:
    """Make each view `home.<value>` show `schema.<key>`, within the caller's transaction.

    Raises `Misconfigured` (`column_changed`) if a column's type differs from the view's,
    `Unavailable` (`views_in_use`) if queries keep the views locked for several seconds.
    """
    statements = [
        _view_statement(connection, (schema, name), (home, view)) for name, view in shown.items()
    ]
    for _ in range(_TRIES):
        try:
            with connection.transaction():
                connection.execute(_WAIT_FOR_VIEW)
                for statement in statements:
                    connection.execute(statement)
        except errors.LockNotAvailable:
            time.sleep(_PAUSE_SECONDS)
            # A query of two views may hold the lock we need and wait for the lock we hold. If all
            # queries lock them in the same order, locking them in that order succeeds.
            statements.reverse()
        else:
            return
    raise Unavailable(
        f"a long query locks the views of schema {home}",
        code="views_in_use",
        next_step="wait until it ends (see pg_stat_activity), then try again",
    )


def _view_statement(
    connection: psycopg.Connection[Any], source: tuple[str, str], view: tuple[str, str]
) -> sql.Composed:
    present = _columns(connection, source)
    published = _columns(connection, view)
    columns: list[sql.Composable] = []
    for name, kind in published.items():
        if present.get(name, kind) != kind:
            raise Misconfigured(
                f"column {name} is {kind} in {'.'.join(view)} but {present[name]} in {source[0]}",
                code="column_changed",
                next_step="give the new column another name, so that existing queries still work",
            )
        missing = sql.SQL("NULL::{} AS {}").format(sql.SQL(kind), sql.Identifier(name))
        columns.append(sql.Identifier(name) if name in present else missing)
    columns += [sql.Identifier(name) for name in present if name not in published]
    return sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT {} FROM {}").format(
        sql.Identifier(*view), sql.SQL(", ").join(columns), sql.Identifier(*source)
    )


def _columns(connection: psycopg.Connection[Any], relation: tuple[str, str]) -> dict[str, str]:
    """Return column → type, in order; empty if the table or view does not exist."""
    quoted = sql.Identifier(*relation).as_string(connection)
    return dict(connection.execute(_COLUMNS, (quoted,)).fetchall())
