"""Keeps the PostgreSQL read model up to date: data, summary and checkpoint in one transaction."""

import struct
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from projectors.postgres.database import Database
from projectors.postgres.schema import CHECKPOINTS, CREATE, DROP
from projectors.postgres.tables import COPY_BEGIN, COPY_END, Tables
from projectors.read_model import Batch, Position
from projectors.source import LATEST_STATE
from runtime.settings import Settings
from schemas.errors import Poisoned
from schemas.records import UserEvent

_INCOMING: Final = """
CREATE TEMP TABLE incoming (
    user_id uuid, version bigint, email text, name text, age integer,
    created_ms bigint, updated_ms bigint
) ON COMMIT DELETE ROWS"""
_COPY: Final = "COPY pg_temp.incoming FROM STDIN (FORMAT binary)"

# One row of a binary COPY; see `projectors.postgres.tables`.
_ROW_BEGIN: Final = struct.Struct(">hi16siqi")  # 7 values: user_id, version, the e-mail's length
_LENGTH: Final = struct.Struct(">i")
_ROW_END: Final = struct.Struct(">iiiqiq")  # age, created_ms, updated_ms
_GONE: Final = struct.Struct(">hi16siqiiiiiq")

# Users in key order, counters in partition order: two writers then never deadlock. `updated_at`
# never goes back, so that the greatest of a partition can be kept without a scan.
_APPLY: Final = """
WITH applied AS (
    INSERT INTO {schema}.users AS held
        (user_id, version, email, name, age, created_at, updated_at)
    SELECT user_id, version, email, name, age,
           'epoch'::timestamptz + created_ms * interval '1 ms',
           'epoch'::timestamptz + updated_ms * interval '1 ms'
    FROM pg_temp.incoming
    ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET
        version = excluded.version, email = excluded.email, name = excluded.name,
        age = excluded.age, created_at = excluded.created_at,
        updated_at = greatest(held.updated_at, excluded.updated_at)
    WHERE held.version < excluded.version
    RETURNING new.user_id, new.updated_at, old.age AS old_age, new.age AS new_age,
              old.age_group AS old_group, new.age_group AS new_group
),
located AS (
    SELECT *,
           -- the shard: the 12 bits after the version digit of the id
           ((get_byte(id, 6) & 15) * 256 + get_byte(id, 7)) * %s >> 12 AS partition
    FROM (SELECT *, uuid_send(user_id) AS id FROM applied) AS rows
)
INSERT INTO {schema}.counters AS held
    (partition, total_users, age_years, teens, adults, seniors, last_updated)
SELECT partition,
       count(new_age) - count(old_age),
       coalesce(sum(new_age), 0) - coalesce(sum(old_age), 0),
       count(*) FILTER (WHERE new_group = 'teen') - count(*) FILTER (WHERE old_group = 'teen'),
       count(*) FILTER (WHERE new_group = 'adult') - count(*) FILTER (WHERE old_group = 'adult'),
       count(*) FILTER (WHERE new_group = 'senior') - count(*) FILTER (WHERE old_group = 'senior'),
       max(updated_at)
FROM located GROUP BY partition ORDER BY partition
ON CONFLICT (partition) DO UPDATE SET
    total_users = held.total_users + excluded.total_users,
    age_years = held.age_years + excluded.age_years,
    teens = held.teens + excluded.teens,
    adults = held.adults + excluded.adults,
    seniors = held.seniors + excluded.seniors,
    last_updated = greatest(held.last_updated, excluded.last_updated)"""


class PostgresUsers:
    """The read model `postgres`: a `ReadModel`. Not for several threads at once."""

    name = "postgres"
    source = LATEST_STATE

    def __init__(self, settings: Settings) -> None:
        self._partitions = settings.partitions
        self._database = Database(
            settings,
            # Data and checkpoint are in one commit: a crash of the server takes both back together,
            # and the log has what is missing. Waiting for the disk would win nothing.
            options="-c synchronous_commit=off",
            set_up=lambda connection: connection.execute(_INCOMING),
        )
        self._tables = Tables(self._database, create=CREATE, drop=DROP, checkpoints=CHECKPOINTS)
        self._apply = self._database.statement(_APPLY)

    def prepare(self) -> None:
        """Create the schema, tables and views that are missing. Idempotent; safe side by side."""
        self._tables.prepare()

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written; none before `prepare`."""
        return self._tables.checkpoint()

    def write(self, batch: Batch) -> None:
        """Apply the events and advance the checkpoint in one transaction.

        1. The checkpoint moves, from exactly where it was: a zombie stops here, having changed
           nothing. 2. The events are copied aside. 3. One statement applies those that are newer
           than what is held and moves the counters by what that changed.

        Raises `Fenced`, `Unavailable` or `Poisoned` as `ReadModel.write` promises.
        """
        with self._tables.step(batch.advances) as cursor:
            if batch.events:
                _copy(cursor, batch.events)
                cursor.execute(self._apply, (self._partitions,))

    def reset(self) -> None:
        """Empty everything in one transaction: nobody sees the tables missing."""
        self._tables.reset()

    def close(self) -> None:
        """Let go of the connection."""
        self._database.close()


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
