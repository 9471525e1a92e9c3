"""Shows the tables and views of a version in the home schema, where people query them.

A view there never loses a column: what depends on it, who was granted it and statements prepared on
it stay as they are. A column that the version shown does not have is null.
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
# Behind one that waits for the view, every query of it would have to wait: so give up and try anew.
_WAIT_FOR_VIEW: Final = "SET LOCAL lock_timeout = '500ms'"
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.5


def publish(
    connection: psycopg.Connection[Any], schema: str, home: str, shown: Mapping[str, str]
) -> None:
    """Make each view `home.<value>` show `schema.<key>`, within the caller's transaction.

    Raises `Misconfigured` (`column_changed`) if a column has another type than the view's,
    `Unavailable` (`views_in_use`) if queries leave no moment between them.
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
            # A query of two views may hold the one we lack and wait for the one we have. Where all
            # queries name them in one order, we are through when it is ours as well.
            statements.reverse()
        else:
            return
    raise Unavailable(
        f"the views of schema {home} are held by a long query",
        code="views_in_use",
        next_step="wait for it to end (see pg_stat_activity), then try again",
    )


def _view_statement(
    connection: psycopg.Connection[Any], there: tuple[str, str], view: tuple[str, str]
) -> sql.Composed:
    has = _columns(connection, there)
    shows = _columns(connection, view)
    columns: list[sql.Composable] = []
    for name, kind in shows.items():
        if has.get(name, kind) != kind:
            raise Misconfigured(
                f"column {name} of {'.'.join(view)} is {kind}, and {has[name]} in {there[0]}",
                code="column_changed",
                next_step="give the new column another name: those who query the view go on",
            )
        missing = sql.SQL("NULL::{} AS {}").format(sql.SQL(kind), sql.Identifier(name))
        columns.append(sql.Identifier(name) if name in has else missing)
    columns += [sql.Identifier(name) for name in has if name not in shows]
    return sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT {} FROM {}").format(
        sql.Identifier(*view), sql.SQL(", ").join(columns), sql.Identifier(*there)
    )


def _columns(connection: psycopg.Connection[Any], relation: tuple[str, str]) -> dict[str, str]:
    """Return column → type, in order; empty if there is no such table or view."""
    quoted = sql.Identifier(*relation).as_string(connection)
    return dict(connection.execute(_COLUMNS, (quoted,)).fetchall())
