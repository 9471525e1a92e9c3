"""Keeps the PostgreSQL read model up to date: data, summary and checkpoint in one transaction."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

from projectors.contract.read_model import Batch, Position, Row
from projectors.contract.source import LATEST_STATE
from projectors.postgres.store.database import WRITER_OPTIONS, Database
from projectors.postgres.store.shape import PARTITION, StoredVersion, filled
from projectors.postgres.store.tables import COPY_BEGIN, COPY_END, Tables
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.schema import SHAPE
from runtime.settings import Settings
from schemas.errors import Poisoned
from schemas.records import UserEvent

_INCOMING: Final = """
CREATE TEMP TABLE incoming (
    user_id uuid, version bigint, email text, name text, age integer,
    created_ms bigint, updated_ms bigint
) ON COMMIT DELETE ROWS"""
_COPY: Final = "COPY pg_temp.incoming FROM STDIN (FORMAT binary)"

# One row of a binary COPY; see `projectors.postgres.store.tables`.
_ROW_BEGIN: Final = struct.Struct(">hi16siqi")  # 7 values: user_id, version, the e-mail's length
_LENGTH: Final = struct.Struct(">i")
_ROW_END: Final = struct.Struct(">iiiqiq")  # age, created_ms, updated_ms
_GONE: Final = struct.Struct(">hi16siqiiiiiq")

# What fills each column, from `incoming`. `updated_at` never goes back, so that the greatest of a
# partition can be kept without a scan.
_VALUES: Final = {
    "user_id": "user_id",
    "version": "version",
    "email": "email",
    "name": "name",
    "age": "age",
    "created_at": "'epoch'::timestamptz + created_ms * interval '1 ms'",
    "updated_at": "'epoch'::timestamptz + updated_ms * interval '1 ms'",
}
_UPDATED: Final = {"updated_at": "greatest(held.updated_at, excluded.updated_at)"}

# Users in key order, counters in partition order: two writers then never deadlock.
_UPSERT: Final = """
    INSERT INTO {schema}.users AS held ({columns})
    SELECT {values} FROM pg_temp.incoming ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET {changes}
    WHERE held.version < excluded.version"""
_APPLY: Final = f"""
WITH applied AS (
{_UPSERT}
    RETURNING new.user_id, new.updated_at, old.age AS old_age, new.age AS new_age,
              old.age_group AS old_group, new.age_group AS new_group
)
INSERT INTO {{schema}}.counters AS held
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
    total_users = held.total_users + excluded.total_users,
    age_years = held.age_years + excluded.age_years,
    teens = held.teens + excluded.teens,
    adults = held.adults + excluded.adults,
    seniors = held.seniors + excluded.seniors,
    last_updated = greatest(held.last_updated, excluded.last_updated)"""  # noqa: S608 - of constants of ours
_ROWS: Final = """
SELECT user_id::text, version, email, name, age,
       (extract(epoch FROM created_at) * 1000)::bigint,
       (extract(epoch FROM updated_at) * 1000)::bigint
FROM {schema}.users"""


class PostgresUsers:
    """One version of the read model `postgres`: a `ReadModel`. Not for several threads at once.

    While it is unfinished its counters are not kept: they come with its indexes, at the end.
    """

    name: Final = "postgres"
    source: Final = LATEST_STATE

    def __init__(self, settings: Settings, there: StoredVersion) -> None:
        self.version = there.number
        self._database = Database(
            settings,
            version=there.number,
            # Data and checkpoint are in one commit: a crash of the server takes both back together,
            # and the log has what is missing. Waiting for the disk would win nothing.
            options=f"-c synchronous_commit=off {WRITER_OPTIONS}",
            set_up=lambda connection: connection.execute(_INCOMING),
        )
        self._tables = Tables(self._database, self.name, there)
        text = _UPSERT if there.unfinished else _APPLY
        self._apply = self._database.statement(
            text,
            partitions=sql.Literal(settings.partitions),
            **filled(there.columns, _VALUES, _UPDATED),
        )

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written. Raises `Dropped`."""
        return self._tables.checkpoint()

    def write(self, batch: Batch) -> None:
        """Apply the events and advance the checkpoint in one transaction.

        1. The checkpoint moves, from exactly where it was: a zombie stops here, having changed
           nothing. 2. The events are copied aside. 3. One statement applies those that are newer
           than what is held and moves the counters by what that changed.

        Raises `Fenced`, `Dropped`, `Unavailable` or `Poisoned` as `ReadModel.write` promises.
        """
        with self._tables.step(batch.advances) as cursor:
            if batch.events:
                _copy(cursor, batch.events)
                cursor.execute(self._apply)

    def make_visible(self) -> None:
        """Do nothing: what is committed is seen."""

    def row_of(self, event: UserEvent) -> Row:
        """Return the user after `event`: id, version, e-mail, name, age, created and updated ms."""
        user, key = event["user"], (event["user_id"], event["version"])
        if user is None:
            return (*key, None, None, None, None, event["occurred_at"])
        shown = (user["email"], user["name"], user["age"], user["created_at"])
        return (*key, *shown, event["occurred_at"])

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield every user and every marker of one that is gone, as `row_of` makes them."""
        yield from self._tables.rows(_ROWS)

    def close(self) -> None:
        """Let go of the connection."""
        self._database.close()


def postgres_versions(settings: Settings) -> PostgresVersions:
    """Return the versions of this read model."""
    return PostgresVersions(settings, PostgresUsers.name, LATEST_STATE, SHAPE, PostgresUsers)


def _copy(cursor: psycopg.Cursor[Any], events: Sequence[UserEvent]) -> None:
    try:
        rows = b"".join([COPY_BEGIN, *map(_row, events), COPY_END])
    except (struct.error, ValueError):  # ValueError: no UUID, or a lone surrogate
        raise Poisoned("a value has no place in its column", code="postgres_refused") from None
    with cursor.copy(_COPY) as copy:
        copy.write(rows)


def _row(event: UserEvent) -> bytes:
    user, user_id = event["user"], bytes.fromhex(event["user_id"].replace("-", ""))
    version, updated_ms = event["version"], event["occurred_at"]
    if user is None:
        return _GONE.pack(7, 16, user_id, 8, version, -1, -1, -1, -1, 8, updated_ms)
    email, name = user["email"].encode(), user["name"].encode()
    return b"".join(
        (
            _ROW_BEGIN.pack(7, 16, user_id, 8, version, len(email)),
            email,
            _LENGTH.pack(len(name)),
            name,
            _ROW_END.pack(4, user["age"], 8, user["created_at"], 8, updated_ms),
        )
    )
