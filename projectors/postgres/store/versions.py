"""The versions of a read model in PostgreSQL, one schema each.

Clients query views in the home schema, which show the live version; a swap replaces these views.
The table `model_versions` of the home schema lists the versions.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from projectors.contract.read_model import ReadModel, Version
from projectors.contract.refusals import (
    check_filled,
    ready_and_live,
    version_dropped,
    version_is_live,
)
from projectors.contract.source import Source
from projectors.postgres.store.bookkeeping import FORMAT, Bookkeeping
from projectors.postgres.store.database import MISSING, Database
from projectors.postgres.store.leftovers import PostgresLeftovers
from projectors.postgres.store.publish import publish
from projectors.postgres.store.shape import StoredVersion, TableShape
from projectors.postgres.store.tables import CREATE_CHECKPOINTS
from projectors.postgres.store.unmaintained import erase_gone_users
from runtime.roles.postgres import version_grants
from runtime.settings import Settings
from schemas.errors import Unavailable

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_CREATE_HOME: Final = "CREATE SCHEMA IF NOT EXISTS {home}"
# By way of JSON, because an earlier release may have created the table, without `paused_at`.
_VERSIONS: Final = """
SELECT number, state, live, (extract(epoch FROM created_at) * 1000)::bigint,
       (extract(epoch FROM live_since) * 1000)::bigint,
       (extract(epoch FROM (to_jsonb(one) ->> 'paused_at')::timestamptz) * 1000)::bigint
FROM {home}.model_versions AS one WHERE model = %s AND state <> 'dropped' ORDER BY number"""
# A number is never reused: a stale writer of a dropped version must not write to a later one.
_ADD: Final = """
INSERT INTO {home}.model_versions (model, number, format)
SELECT %(model)s, coalesce(max(number), 0) + 1, %(format)s
FROM {home}.model_versions WHERE model = %(model)s
RETURNING number"""
_IS_FINISHED: Final = "SELECT finished FROM {home}.model_versions WHERE model = %s AND number = %s"
_FINISH: Final = """
UPDATE {home}.model_versions SET finished = true
WHERE model = %s AND number = %s AND state <> 'dropped' AND NOT finished"""
_ACCEPT: Final = """
UPDATE {home}.model_versions SET state = 'ready'
WHERE model = %s AND number = %s AND state <> 'dropped'"""
# Touches no other row: `finish` keeps the row of its version locked until it ends.
_GO_LIVE: Final = """
UPDATE {home}.model_versions SET live = number = %(number)s,
    live_since = CASE number WHEN %(number)s THEN clock_timestamp() ELSE live_since END
WHERE model = %(model)s AND (live OR number = %(number)s)"""
_SET_PAUSED: Final = """
UPDATE {home}.model_versions
SET paused_at = CASE WHEN %s THEN coalesce(paused_at, clock_timestamp()) END
WHERE model = %s AND number = %s AND state <> 'dropped'"""
_REMOVE: Final = """
UPDATE {home}.model_versions SET state = 'dropped' WHERE model = %s AND number = %s AND NOT live"""
# For whom roles were set up: those that may use the home schema (docs/decisions/0040).
_ROLES: Final = """
SELECT pg_get_userbyid(grantee) FROM pg_namespace, aclexplode(nspacl)
WHERE nspname = %s AND privilege_type = 'USAGE'"""
_COLUMNS: Final = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"""
# A swapping process may die silently, as in a power failure; its lock must expire.
_LOCK_EXPIRY: Final = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
_LOCK_WRITERS: Final = "LOCK TABLE {schema}.checkpoints IN SHARE ROW EXCLUSIVE MODE"
# Only building indexes gets faster with more memory.
_INDEX_MEMORY: Final = "SET LOCAL maintenance_work_mem = '256MB'"


class PostgresVersions:
    """The versions of one read model: a `ReadModelVersions`. Not thread-safe.

    `open_model` opens a version as a `ReadModel`.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        source: Source,
        shape: TableShape,
        open_model: Callable[[Settings, StoredVersion], ReadModel],
    ) -> None:
        self.name = name
        self.source = source
        self._settings = settings
        self._shape = shape
        self._open_model = open_model
        self._database = Database(settings, read_model=name)
        self._bookkeeping = Bookkeeping(self._database)
        self._leftovers = PostgresLeftovers(settings, name, shape)

    def versions(self) -> list[Version]:
        """Return all versions in order of their numbers; none before `begin`.

        Raises `Misconfigured` (`newer_bookkeeping`), as all methods do, if a later release has
        changed the store in a way that this one cannot use.
        """
        try:
            rows = self._run(_VERSIONS, (self.name,)).fetchall()
        except Unavailable as error:
            if error.code == MISSING:
                return []
            raise
        return [Version(*row) for row in rows]

    def begin(self) -> None:
        """Create the first version, ready and live, unless one exists. Safe to run concurrently.

        Also brings the tables of an earlier release to our format.
        """
        self._update()
        if self.versions():
            return
        with self._changing() as connection:
            if connection.execute(self._home(_VERSIONS), (self.name,)).fetchall():
                return
            number = self._create(connection)
            self._finish(connection, number)
            connection.execute(self._home(_ACCEPT), (self.name, number))
            self._go_live(connection, number)

    def create(self) -> int:
        """Create an empty version in state `building`; return its number."""
        with self._changing() as connection:
            return self._create(connection)

    def open(self, number: int) -> ReadModel:
        """Open a version, also one of an older rollbook, which may have fewer columns.

        Raises `Misconfigured` (`other_shape`) if it has columns that this rollbook cannot fill. A
        version that does not exist raises `Dropped` when it is used.
        """
        rows = self._run(_IS_FINISHED, (self.name, number)).fetchall()
        columns = self._columns(number) or self._shape.columns  # a dropped version has none
        check_filled(self.name, number, columns, self._shape.columns)
        stored = StoredVersion(number, columns, unfinished=rows == [(False,)])
        return self._open_model(self._settings, stored)

    def finish(self, number: int) -> None:
        """Run the deferred statements in one transaction; idempotent."""
        with self._database.session() as connection, connection.transaction():
            self._finish(connection, number)

    def accept(self, number: int) -> None:
        """Make a version ready. Idempotent. Raises `Dropped`."""
        if not self._run(_ACCEPT, (self.name, number)).rowcount:
            raise version_dropped(self.name, number)

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        """Make a ready version live; see `ReadModelVersions.swap`.

        Locks the checkpoint of the live version, which its writers update first in every step. The
        lock ends with this transaction, and after a minute if this process dies silently. Raises
        `Rejected` (`version_not_ready`), `Unavailable` (`views_in_use`) if a long query locks the
        views.
        """
        with self._changing() as connection:
            _, live = ready_and_live(self.name, self.versions(), number)
            if live is None or live.number == number:
                return
            connection.execute(_LOCK_EXPIRY)
            if self._columns(live.number):  # else someone removed its tables: nobody writes them
                connection.execute(self._version(live.number).statement(_LOCK_WRITERS))
            await_caught_up()
            self._go_live(connection, number)

    def drop(self, number: int) -> None:
        """Remove a version and its data. Idempotent. Raises `Rejected` (`version_is_live`)."""
        with self._changing() as connection:
            connection.execute(self._home(_REMOVE), (self.name, number))
            if any(version.number == number for version in self.versions()):
                raise version_is_live(self.name, number)
            drop = "DROP SCHEMA IF EXISTS {schema} CASCADE"
            connection.execute(self._version(number).statement(drop))

    def set_paused(self, number: int, *, paused: bool) -> None:
        """Pause the writers of a version, or let them continue; see `PausableVersions`."""
        self._update()
        if not self._run(_SET_PAUSED, (paused, self.name, number)).rowcount:
            raise version_dropped(self.name, number)

    def remove_leftovers(self, number: int, *, settled_seconds: float = 120.0) -> bool:  # noqa: ARG002 - for Elasticsearch
        """Remove from PostgreSQL's files what was deleted; see `RemovesLeftovers`."""
        return self._leftovers.remove(number)

    def erase_gone_users(self, number: int, live: int) -> int:
        """Erase from a version that nobody maintains who is gone from the live one."""
        return erase_gone_users(self._settings, self.name, self._shape, number=number, live=live)

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _create(self, connection: psycopg.Connection[Any]) -> int:
        [[number]] = connection.execute(
            self._home(_ADD), {"model": self.name, "format": FORMAT}
        ).fetchall()
        tables = ("CREATE SCHEMA {schema}", CREATE_CHECKPOINTS, *self._shape.tables)
        self._run_all(connection, number, tables)
        self._grant(connection, number)
        return int(number)

    def _grant(self, connection: psycopg.Connection[Any], number: int) -> None:
        """Let the roles of the projector and of queries use a new version, where there are any."""
        found = {name for (name,) in connection.execute(_ROLES, (self._database.home,))}
        for login, grants in version_grants(self._settings, self.name, number).items():
            for grant in grants if login in found else ():
                connection.execute(grant)

    def _finish(self, connection: psycopg.Connection[Any], number: int) -> None:
        if connection.execute(self._home(_FINISH), (self.name, number)).rowcount:
            connection.execute(_INDEX_MEMORY)
            self._run_all(connection, number, self._shape.deferred)

    def _go_live(self, connection: psycopg.Connection[Any], number: int) -> None:
        schema = self._version(number).schema
        shown = {name: name for name in self._shape.published}
        shown |= {"checkpoints": f"{self.name}_checkpoints"}
        publish(connection, schema, self._database.home, shown)
        values = {"model": self.name, "number": number}
        connection.execute(self._home(_GO_LIVE), values)

    @contextmanager
    def _changing(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend the connection for one transaction, in which nobody else changes the versions."""
        self._update()
        with self._database.session() as connection, connection.transaction():
            connection.execute(_LOCK, (self._database.home,))
            yield connection

    def _update(self) -> None:
        """Bring the bookkeeping up to date, in a transaction of its own."""
        with self._database.session() as connection:
            if self._bookkeeping.is_current(connection):
                return
            with connection.transaction():
                # Even CREATE … IF NOT EXISTS fails if two sessions run it at the same time.
                connection.execute(_LOCK, (self._database.home,))
                connection.execute(self._home(_CREATE_HOME))
                self._bookkeeping.update(connection, self._version_of)

    def _columns(self, number: int) -> list[str]:
        """Return the columns of a version that a writer fills."""
        table = sql.Identifier(self._version(number).schema, self._shape.table)
        with self._database.session() as connection:
            rows = connection.execute(_COLUMNS, (table.as_string(connection),))
            return [name for (name,) in rows]

    def _run_all(
        self,
        connection: psycopg.Connection[Any],
        number: int,
        statements: Sequence[LiteralString],
    ) -> None:
        partitions = sql.Literal(self._settings.partitions)
        database = self._version(number)
        for text in statements:
            connection.execute(database.statement(text, partitions=partitions))

    def _run(self, text: LiteralString, parameters: Sequence[object]) -> psycopg.Cursor[Any]:
        with self._database.session() as connection:
            self._bookkeeping.check(connection)
            return connection.execute(self._home(text), parameters)

    def _home(self, text: LiteralString) -> sql.Composed:
        return self._database.statement(text)

    def _version(self, number: int) -> Database:
        return self._version_of(self.name, number)

    def _version_of(self, model: str, number: int) -> Database:
        return Database(self._settings, read_model=model, version=number)
