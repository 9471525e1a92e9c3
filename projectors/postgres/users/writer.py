"""Keeps the read model of users up to date: users, counters and checkpoint in one transaction."""

import logging
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.errors import UniqueViolation

from projectors.contract.read_model import Batch, Row
from projectors.contract.source import LATEST_STATE
from projectors.postgres.store.copy_rows import EPOCH_MS, LENGTH, copy_rows
from projectors.postgres.store.shape import PARTITION, StoredVersion, upsert_parts
from projectors.postgres.store.tables import Part, VersionTables
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.schema import SHAPE
from runtime.settings import Settings
from schemas.identity import uuid_bytes
from schemas.records import UserEvent

log = logging.getLogger(__name__)

_INCOMING: Final = """
CREATE TEMP TABLE incoming (
    user_id uuid, version bigint, email text, name text, age integer,
    created_at timestamptz, updated_at timestamptz
) ON COMMIT DELETE ROWS"""
_COPY: Final = "COPY pg_temp.incoming FROM STDIN (FORMAT binary)"

# A row in pieces of fixed size; each begins with the length of its first value.
_ROW_BEGIN: Final = struct.Struct(">hi16siqi")  # user_id, version, the length of the e-mail
_ROW_END: Final = struct.Struct(">iiiqiq")  # age, created_at, updated_at
_MARKER: Final = struct.Struct(">hi16siqiiiiiq")  # user_id, version, four nulls, updated_at

# What fills each column, from `incoming`. `updated_at` never decreases, so the latest one of a
# partition is known without a scan.
_VALUES: Final = {
    "user_id": "user_id",
    "version": "version",
    "email": "email",
    "name": "name",
    "age": "age",
    "created_at": "created_at",
    "updated_at": "updated_at",
}
_UPDATED: Final = {"updated_at": "greatest(stored.updated_at, excluded.updated_at)"}

# A user whose first event arrives is inserted, in two thirds of the time of an upsert: the server
# need not look for the row first, nor mark it as tentative.
_INSERT: Final = """
    INSERT INTO {schema}.users ({columns})
    SELECT {values} FROM pg_temp.incoming WHERE version = 1 ORDER BY user_id"""
# Two writers never wait for each other's users: these are of one partition, whose checkpoint only
# one of them has moved. Counters are written in the order of partitions.
_UPSERT: Final = """
    INSERT INTO {schema}.users AS stored ({columns})
    SELECT {values} FROM pg_temp.incoming WHERE version >= {least_version} ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET {changes}
    WHERE stored.version < excluded.version"""
_CHANGED: Final = """
    RETURNING new.user_id, new.updated_at, old.age AS old_age, new.age AS new_age,
              old.age_group AS old_group, new.age_group AS new_group"""
_COUNT: Final = f"""
INSERT INTO {{schema}}.counters AS stored
    (partition, total_users, age_years, teens, adults, seniors, last_updated)
SELECT {PARTITION} AS partition,
       count(new_age) - count(old_age),
       coalesce(sum(new_age), 0) - coalesce(sum(old_age), 0),
       count(*) FILTER (WHERE new_group = 'teen') - count(*) FILTER (WHERE old_group = 'teen'),
       count(*) FILTER (WHERE new_group = 'adult') - count(*) FILTER (WHERE old_group = 'adult'),
       count(*) FILTER (WHERE new_group = 'senior') - count(*) FILTER (WHERE old_group = 'senior'),
       max(updated_at)
FROM applied GROUP BY 1 ORDER BY 1
ON CONFLICT (partition) DO UPDATE SET
    total_users = stored.total_users + excluded.total_users,
    age_years = stored.age_years + excluded.age_years,
    teens = stored.teens + excluded.teens,
    adults = stored.adults + excluded.adults,
    seniors = stored.seniors + excluded.seniors,
    last_updated = greatest(stored.last_updated, excluded.last_updated)"""  # noqa: S608 - our own constants
_APPLY_ANY: Final = f"WITH applied AS ({_UPSERT}{_CHANGED}) {_COUNT}"
_APPLY_NEW: Final = f"""
WITH inserted AS ({_INSERT}{_CHANGED}), upserted AS ({_UPSERT}{_CHANGED}),
applied AS (SELECT * FROM inserted UNION ALL SELECT * FROM upserted) {_COUNT}"""  # noqa: S608
_FILL_NEW: Final = f"WITH inserted AS ({_INSERT}) {_UPSERT}"
_ROWS: Final = """
SELECT user_id::text, version, email, name, age,
       (extract(epoch FROM created_at) * 1000)::bigint,
       (extract(epoch FROM updated_at) * 1000)::bigint
FROM {schema}.users"""


class PostgresUsers(VersionTables):
    """One version of the read model `postgres`: a `ReadModel`. Not thread-safe.

    An unfinished version has no counters: they are computed at the end, like its indexes.
    """

    name: Final = "postgres"
    source: Final = LATEST_STATE

    def __init__(self, settings: Settings, stored: StoredVersion) -> None:
        super().__init__(settings, self.name, stored, incoming=_INCOMING)
        for_new, for_any = (_FILL_NEW, _UPSERT) if stored.unfinished else (_APPLY_NEW, _APPLY_ANY)
        parts = upsert_parts(stored.columns, _VALUES, _UPDATED)
        parts["partitions"] = sql.Literal(settings.partitions)
        self._apply_new = self.database.statement(for_new, least_version=sql.Literal(2), **parts)
        self._apply_any = self.database.statement(for_any, least_version=sql.Literal(1), **parts)
        self._expects_new = True

    def write(self, batch: Batch) -> None:
        """Apply the events and advance the checkpoint in one transaction.

        1. The checkpoint moves, from the expected position only: a stale process fails here,
           before it has changed anything. 2. The events are copied into a temporary table. 3. One
           statement applies those that are newer than the stored users, and updates the counters.

        Raises `Fenced`, `Dropped`, `Unavailable` or `Poisoned` as `ReadModel.write` promises.
        """
        with self.step(batch.advances) as cursor:
            if batch.events:
                copy_rows(cursor, _COPY, batch.packed or map(pack_user, batch.events))
                self._apply(cursor, batch)

    def _apply(self, cursor: psycopg.Cursor[Any], batch: Batch) -> None:
        """Apply what was copied: insert new users, until one that should be new is there already.

        A retried dead letter, which comes without a step, may well find its user there.
        """
        is_new = batch.advances and any(event["version"] == 1 for event in batch.events)
        if is_new and self._expects_new:
            try:
                with cursor.connection.transaction():  # a savepoint
                    cursor.execute(self._apply_new)
            except UniqueViolation:
                log.info("a first event found a row: from now on, all users are upserted")
                self._expects_new = False
            else:
                return
        cursor.execute(self._apply_any)

    def pack_event(self, event: UserEvent) -> bytes:
        """Return `event` as a row of COPY; see `PacksEvents`."""
        return pack_user(event)

    def row_of(self, event: UserEvent) -> Row:
        """Return the user after `event`: id, version, e-mail, name, age, created and updated ms."""
        user, key = event["user"], (event["user_id"], event["version"])
        if user is None:
            return (*key, None, None, None, None, event["occurred_at"])
        shown = (user["email"], user["name"], user["age"], user["created_at"])
        return (*key, *shown, event["occurred_at"])

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield every user and every marker of a deleted one, in the form of `row_of`."""
        yield from self.fetch(_ROWS)

    def rows_of(self, part: Part) -> Iterator[Sequence[Row]]:
        """Yield the rows of a part; see `DividesRows`."""
        yield from self.fetch(_ROWS, part)


def postgres_versions(settings: Settings) -> PostgresVersions:
    """Return the versions of this read model."""
    return PostgresVersions(settings, PostgresUsers.name, LATEST_STATE, SHAPE, PostgresUsers)


def pack_user(event: UserEvent) -> bytes:
    """Return the user after `event` as a row of COPY, in the order of `SHAPE.columns`."""
    user, user_id = event["user"], uuid_bytes(event["user_id"])
    version, updated_at = event["version"], (event["occurred_at"] - EPOCH_MS) * 1000
    if user is None:
        return _MARKER.pack(7, 16, user_id, 8, version, -1, -1, -1, -1, 8, updated_at)
    email, name = user["email"].encode(), user["name"].encode()
    created_at = (user["created_at"] - EPOCH_MS) * 1000
    return b"".join(
        (
            _ROW_BEGIN.pack(7, 16, user_id, 8, version, len(email)),
            email,
            LENGTH.pack(len(name)),
            name,
            _ROW_END.pack(4, user["age"], 8, created_at, 8, updated_at),
        )
    )
