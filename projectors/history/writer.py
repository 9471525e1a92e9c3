"""Keeps the table of every event up to date, and removes from it what is erased."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
import psycopg
from psycopg import sql

from projectors.contract.read_model import Batch, EventKey, Position, Row
from projectors.contract.source import WHOLE_HISTORY
from projectors.history.schema import SHAPE
from projectors.postgres.store.database import WRITER_OPTIONS, Database
from projectors.postgres.store.shape import StoredVersion
from projectors.postgres.store.tables import COPY_BEGIN, COPY_END, Tables
from projectors.postgres.store.versions import PostgresVersions
from runtime.settings import Settings
from schemas.errors import Poisoned
from schemas.records import USER_ERASED, UserEvent

_INCOMING: Final = """
CREATE TEMP TABLE incoming_history (
    user_id uuid, version bigint, seq bigint, occurred_at timestamptz,
    type text, command_id text, changes jsonb,
    email text, email_key text, name text, age integer,
    created_at timestamptz, created_by text
) ON COMMIT DELETE ROWS"""
_COPY: Final = "COPY pg_temp.incoming_history FROM STDIN (FORMAT binary)"

# A row is never overwritten: what happened, happened. Whatever stands below an erasure is refused,
# however late it comes and wherever from.
_ADD: Final = """
INSERT INTO {schema}.user_history ({columns})
SELECT {columns} FROM pg_temp.incoming_history AS arrived
WHERE NOT EXISTS (
    SELECT FROM {schema}.user_history AS erased
    WHERE erased.type = {erased}  -- a literal: the partial index is found by it
      AND erased.user_id = arrived.user_id AND erased.version > arrived.version
)
ON CONFLICT (user_id, version) DO NOTHING"""
_ERASE: Final = """
DELETE FROM {schema}.user_history AS held
USING unnest(%s::uuid[], %s::bigint[]) AS erased (user_id, version)
WHERE held.user_id = erased.user_id AND held.version < erased.version"""
_REMOVE: Final = """
DELETE FROM {schema}.user_history AS held
USING unnest(%s::uuid[], %s::bigint[]) AS removed (user_id, version)
WHERE held.user_id = removed.user_id AND held.version = removed.version"""

_ROWS: Final = """
SELECT user_id::text, version, seq, (extract(epoch FROM occurred_at) * 1000)::bigint,
       type, command_id, changes, email, email_key, name, age,
       (extract(epoch FROM created_at) * 1000)::bigint, created_by
FROM {schema}.user_history"""

# Data and checkpoint are in one commit, as with the model of users: nothing is won by waiting for
# the disk. And every row is looked up by its key: without statistics of the rows that arrive, or
# of a table that is new, the planner takes to reading the whole history for each batch.
_OPTIONS: Final = (
    "-c synchronous_commit=off -c enable_hashjoin=off -c enable_mergejoin=off "
    f"-c enable_seqscan=off {WRITER_OPTIONS}"
)

# A row of the binary COPY in pieces of fixed size; each value follows its length, -1 is NULL.
_ROW_BEGIN: Final = struct.Struct(">hi16siqiqiq")  # user_id, version, seq, occurred_at
_LENGTH: Final = struct.Struct(">i")
_AGE_AND_CREATION: Final = struct.Struct(">iiiq")
_NULL: Final = _LENGTH.pack(-1)
_GONE: Final = 6 * _NULL
_COLUMNS: Final = 13
_JSONB_VERSION: Final = b"\x01"
# PostgreSQL counts microseconds from the year 2000.
_EPOCH_MS: Final = 946_684_800_000


class PostgresHistory:
    """One version of the read model `history`: a `ReadModel`. Not for several threads at once."""

    name: Final = "history"
    source: Final = WHOLE_HISTORY

    def __init__(self, settings: Settings, there: StoredVersion) -> None:
        self.version = there.number
        self._database = Database(
            settings,
            read_model=self.name,
            version=there.number,
            options=_OPTIONS,
            set_up=lambda connection: connection.execute(_INCOMING),
        )
        self._tables = Tables(self._database, self.name, there)
        names = [sql.Identifier(name) for name in SHAPE.columns if name in set(there.columns)]
        self._add = self._database.statement(
            _ADD, erased=sql.Literal(USER_ERASED), columns=sql.SQL(", ").join(names)
        )
        self._erase = self._database.statement(_ERASE)
        self._remove = self._database.statement(_REMOVE)

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written. Raises `Dropped`."""
        return self._tables.checkpoint()

    def write(self, batch: Batch) -> None:
        """Remove and add events and advance the checkpoint in one transaction.

        An erasure removes every event of its user below it, those of the batch and those held, and
        keeps out whatever comes later with a lower version. Raises `Fenced`, `Dropped`,
        `Unavailable` or `Poisoned` as `ReadModel.write` promises.
        """
        events, erased = unerased(batch.events)
        with self._tables.step(batch.advances) as cursor:
            if batch.removed:
                cursor.execute(self._remove, _arrays(batch.removed))
            if erased:
                cursor.execute(self._erase, _arrays(list(erased.items())))
            if events:
                _copy(cursor, events)
                cursor.execute(self._add)

    def make_visible(self) -> None:
        """Do nothing: what is committed is seen."""

    def row_of(self, event: UserEvent) -> Row:
        """Return the row of `event`: all of it but its id, which follows from the rest."""
        kind, changes, user = event["type"], event["changes"], event["user"]
        if kind == USER_ERASED:
            changes, user = [], None
        what = (event["user_id"], event["version"], event["seq"], event["occurred_at"])
        texts = orjson.dumps(changes, option=orjson.OPT_SORT_KEYS).decode() if changes else None
        if user is None:
            return (*what, kind, event["command_id"], texts, None, None, None, None, None, None)
        held = (user["email"], user["email_key"], user["name"], user["age"])
        created = (user["created_at"], user["created_by"])
        return (*what, kind, event["command_id"], texts, *held, *created)

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield every event that is held, as `row_of` makes it."""
        for rows in self._tables.rows(_ROWS):
            yield [(*row[:6], _sorted(row[6]), *row[7:]) for row in rows]

    def close(self) -> None:
        """Let go of the connection."""
        self._database.close()


def history_versions(settings: Settings) -> PostgresVersions:
    """Return the versions of this read model."""
    return PostgresVersions(settings, PostgresHistory.name, WHOLE_HISTORY, SHAPE, PostgresHistory)


def _sorted(changes: object) -> str | None:
    # PostgreSQL keeps the keys of an object in an order of its own.
    return orjson.dumps(changes, option=orjson.OPT_SORT_KEYS).decode() if changes else None


def unerased(events: Sequence[UserEvent]) -> tuple[Sequence[UserEvent], Mapping[str, int]]:
    """Return the events that no other of them erases, and user id → version of each erasure.

    Of several under one version the first is left.
    """
    if not _rise(events):  # a stranger's: ours have each version once
        first = {(event["user_id"], event["version"]): event for event in reversed(events)}
        events = list(first.values())[::-1]
    erased: dict[str, int] = {}
    for event in events:
        if event["type"] == USER_ERASED:
            user_id = event["user_id"]
            erased[user_id] = max(event["version"], erased.get(user_id, 0))
    if not erased:
        return events, erased
    return [e for e in events if e["version"] >= erased.get(e["user_id"], 0)], erased


def _rise(events: Sequence[UserEvent]) -> bool:
    """Say whether each user's versions only grow."""
    last: dict[str, int] = {}
    for event in events:
        user_id, version = event["user_id"], event["version"]
        if last.get(user_id, 0) >= version:
            return False
        last[user_id] = version
    return True


def _arrays(keys: Sequence[EventKey]) -> tuple[list[str], list[int]]:
    return [user_id for user_id, _ in keys], [version for _, version in keys]


def _copy(cursor: psycopg.Cursor[Any], events: Sequence[UserEvent]) -> None:
    try:
        rows = b"".join([COPY_BEGIN, *map(_row, events), COPY_END])
    except (struct.error, ValueError, TypeError):  # no UUID, a lone surrogate, no JSON
        raise Poisoned("a value has no place in its column", code="postgres_refused") from None
    with cursor.copy(_COPY) as copy:
        copy.write(rows)


def _row(event: UserEvent) -> bytes:
    user, changes = event["user"], event["changes"]
    if event["type"] == USER_ERASED:  # nothing personal, whatever a stranger wrote there
        user, changes = None, []
    parts = [
        _ROW_BEGIN.pack(
            *(_COLUMNS, 16, bytes.fromhex(event["user_id"].replace("-", ""))),
            *(8, event["version"], 8, event["seq"], 8, _microseconds(event["occurred_at"])),
        ),
        *_text(event["type"]),
        *_text(event["command_id"]),
        *(_value(_JSONB_VERSION + orjson.dumps(changes)) if changes else (_NULL,)),
    ]
    if user is None:
        parts.append(_GONE)
    else:
        created = _microseconds(user["created_at"])
        parts += (
            *_text(user["email"]),
            *_text(user["email_key"]),
            *_text(user["name"]),
            _AGE_AND_CREATION.pack(4, user["age"], 8, created),
            *_text(user["created_by"]),
        )
    return b"".join(parts)


def _text(text: str) -> tuple[bytes, bytes]:
    return _value(text.encode())


def _value(value: bytes) -> tuple[bytes, bytes]:
    return _LENGTH.pack(len(value)), value


def _microseconds(unix_ms: int) -> int:
    return (unix_ms - _EPOCH_MS) * 1000
