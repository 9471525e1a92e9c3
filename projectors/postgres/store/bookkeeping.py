"""The format of rollbook's own tables in PostgreSQL, and the steps that bring a store up to it.

These are the list of versions and the checkpoints of each version. The tables of a read model's
rows are not changed: their shape changes with a new version (docs/decisions/0012).

The table `bookkeeping` of the home schema holds two numbers: the `format` of the store, and the
format that a release must know to use it, `required`. A store without that table was made by an
earlier release and has format 0. A version has a format too, because an older release may add one
to a store that has a later format. See docs/decisions/0027.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from projectors.contract.refusals import check_format
from projectors.postgres.store.database import Database


@dataclass(frozen=True, slots=True)
class Step:
    """What brings a store to the next format: statements for the home schema and for each version.

    They may be run again, and releases that know an earlier format, at least `required`, still work
    with the result: a step adds what they ignore. What they use may be removed only by a later
    step, whose `required` names the first format that does without it.
    """

    home: Sequence[LiteralString] = ()
    version: Sequence[LiteralString] = ()
    required: int = 0


# As earlier releases created it; their versions have format 1.
_CREATE_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS {home}.model_versions (
    model text NOT NULL,
    number integer NOT NULL,
    state text NOT NULL DEFAULT 'building',
    finished boolean NOT NULL DEFAULT false,
    live boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    live_since timestamptz,
    PRIMARY KEY (model, number)
)"""
_ADD_FORMAT: Final = """
ALTER TABLE {home}.model_versions ADD COLUMN IF NOT EXISTS format integer NOT NULL DEFAULT 1"""
_CREATE_BOOKKEEPING: Final = """
CREATE TABLE IF NOT EXISTS {home}.bookkeeping (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    format integer NOT NULL,
    required integer NOT NULL
)"""
_ADD_PAUSE: Final = """
ALTER TABLE {home}.model_versions ADD COLUMN IF NOT EXISTS paused_at timestamptz"""
# Whoever may list the versions must be able to check the format; it says nothing about users.
_SHOW: Final = "GRANT SELECT ON {home}.bookkeeping TO PUBLIC"

# Appended to, never edited: some stores have gone through the first ones only.
STEPS: Final[Sequence[Step]] = (
    Step(home=(_CREATE_VERSIONS, _ADD_FORMAT, _CREATE_BOOKKEEPING, _SHOW)),
    Step(home=(_ADD_PAUSE,)),
)
FORMAT: Final = len(STEPS)

_EXISTS: Final = "SELECT to_regclass(%s)"
_STORED: Final = "SELECT format, required FROM {home}.bookkeeping"
_STORE: Final = """
INSERT INTO {home}.bookkeeping (format, required) VALUES (%s, %s)
ON CONFLICT (one_row) DO UPDATE SET format = excluded.format, required = excluded.required"""
_OLDER_VERSIONS: Final = """
SELECT model, number, format FROM {home}.model_versions
WHERE state <> 'dropped' AND format < %s"""
_VERSIONS_ARE_CURRENT: Final = """
UPDATE {home}.model_versions SET format = %(now)s
WHERE state <> 'dropped' AND format < %(now)s"""
# To change a table we wait for its writers, and everybody else queues behind us: give up soon. The
# projector tries again.
_WAIT_FOR_TABLES: Final = "SET LOCAL lock_timeout = '2s'"

# Returns the database of a version, given the name of its read model and its number.
OpenVersion: TypeAlias = Callable[[str, int], Database]


class Bookkeeping:
    """The format of the store of one home schema."""

    def __init__(self, database: Database, steps: Sequence[Step] = STEPS) -> None:
        self._database = database
        self._steps = steps

    def check(self, connection: psycopg.Connection[Any]) -> int:
        """Return the format of the store. Changes nothing.

        Raises `Misconfigured` (`newer_bookkeeping`) if it requires a format that this release does
        not know.
        """
        home = self._database.home
        table = sql.Identifier(home, "bookkeeping").as_string(connection)
        if connection.execute(_EXISTS, (table,)).fetchall() == [(None,)]:
            return 0
        rows = connection.execute(self._database.statement(_STORED)).fetchall()
        stored, required = rows[0] if rows else (0, 0)
        check_format(f"PostgreSQL schema {home}", required=required, known=len(self._steps))
        return int(stored)

    def is_current(self, connection: psycopg.Connection[Any]) -> bool:
        """Return whether `update` has nothing to do. Raises as `check` does."""
        if self.check(connection) < len(self._steps):
            return False
        return not self._run(connection, _OLDER_VERSIONS, (len(self._steps),)).rowcount

    def update(self, connection: psycopg.Connection[Any], open_version: OpenVersion) -> None:
        """Take the steps that the store and its versions lack.

        Runs in a transaction of the caller, who holds the lock of the home schema. Raises as
        `check` does, `Unavailable` if a table stays locked.
        """
        stored, now = self.check(connection), len(self._steps)
        connection.execute(_WAIT_FOR_TABLES)
        for step in self._steps[stored:]:
            _run_all(connection, self._database, step.home)
        for model, number, at in self._run(connection, _OLDER_VERSIONS, (now,)).fetchall():
            for step in self._steps[at:]:
                _run_all(connection, open_version(model, number), step.version)
        self._run(connection, _VERSIONS_ARE_CURRENT, {"now": now})
        if stored < now:
            required = max(step.required for step in self._steps)
            self._run(connection, _STORE, (now, required))

    def _run(
        self, connection: psycopg.Connection[Any], text: LiteralString, parameters: Any
    ) -> psycopg.Cursor[Any]:
        return connection.execute(self._database.statement(text), parameters)


def _run_all(
    connection: psycopg.Connection[Any], database: Database, statements: Iterable[LiteralString]
) -> None:
    for text in statements:
        connection.execute(database.statement(text))
