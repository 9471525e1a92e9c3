"""Keeps the table of every event up to date, and deletes what an erasure covers."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson
from psycopg import sql

from projectors.contract.read_model import Batch, EventKey, Row
from projectors.contract.source import WHOLE_HISTORY
from projectors.history.schema import SHAPE
from projectors.postgres.store.copy_rows import EPOCH_MS, LENGTH, NULL, copy_rows
from projectors.postgres.store.shape import StoredVersion
from projectors.postgres.store.tables import Part, VersionTables
from projectors.postgres.store.versions import PostgresVersions
from runtime.settings import Settings
from schemas.identity import uuid_bytes
from schemas.records import USER_ERASED, FieldChange, User, UserEvent

_INCOMING: Final = """
CREATE TEMP TABLE incoming_history (
    user_id uuid, version bigint, seq bigint, occurred_at timestamptz,
    type text, command_id text, changes jsonb,
    email text, email_key text, name text, age integer,
    created_at timestamptz, created_by text, issued_by text
) ON COMMIT DELETE ROWS"""
_COPY: Final = "COPY pg_temp.incoming_history FROM STDIN (FORMAT binary)"

# A row is never overwritten, because history does not change. Events older than an erasure are
# ignored, however late they arrive.
_ADD: Final = """
INSERT INTO {schema}.user_history ({columns})
SELECT {columns} FROM pg_temp.incoming_history AS incoming
WHERE NOT EXISTS (
    SELECT FROM {schema}.user_history AS erased
    WHERE erased.type = {erased}  -- a literal, so that the partial index is used
      AND erased.user_id = incoming.user_id AND erased.version > incoming.version
)
ON CONFLICT (user_id, version) DO NOTHING"""
_ERASE: Final = """
DELETE FROM {schema}.user_history AS stored
USING unnest(%s::uuid[], %s::bigint[]) AS erased (user_id, version)
WHERE stored.user_id = erased.user_id AND stored.version < erased.version"""
_REMOVE: Final = """
DELETE FROM {schema}.user_history AS stored
USING unnest(%s::uuid[], %s::bigint[]) AS removed (user_id, version)
WHERE stored.user_id = removed.user_id AND stored.version = removed.version"""

_ROWS: Final = """
SELECT user_id::text, version, seq, (extract(epoch FROM occurred_at) * 1000)::bigint,
       type, command_id, changes, email, email_key, name, age,
       (extract(epoch FROM created_at) * 1000)::bigint, created_by, issued_by
FROM {schema}.user_history"""
_ROWS_WITHOUT_ISSUER: Final = _ROWS.replace(", issued_by", "")

# Every row is looked up by its key. Without statistics for the incoming rows, or for a new table,
# the planner would choose to read the whole history for every batch.
_SESSION: Final = {"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off"}

# A row in pieces of fixed size; each value follows its length.
_ROW_BEGIN: Final = struct.Struct(">hi16siqiqiq")  # user_id, version, seq, occurred_at
_AGE_AND_CREATION: Final = struct.Struct(">iiiq")
_NO_USER: Final = 6 * NULL
_COLUMNS: Final = 14
_JSONB_VERSION: Final = b"\x01"


class PostgresHistory(VersionTables):
    """One version of the read model `history`: a `ReadModel`. Not thread-safe."""

    name: Final = "history"
    source: Final = WHOLE_HISTORY

    def __init__(self, settings: Settings, stored: StoredVersion) -> None:
        super().__init__(settings, self.name, stored, incoming=_INCOMING, session=_SESSION)
        statement = self.database.statement
        names = [sql.Identifier(name) for name in SHAPE.columns if name in set(stored.columns)]
        self._add = statement(
            _ADD, erased=sql.Literal(USER_ERASED), columns=sql.SQL(", ").join(names)
        )
        self._has_issuer = "issued_by" in stored.columns
        self._erase = statement(_ERASE)
        self._remove = statement(_REMOVE)

    def write(self, batch: Batch) -> None:
        """Remove and add events and advance the checkpoint in one transaction.

        An erasure deletes all older events of its user, those of the batch and those stored, and
        older events that arrive later are ignored. Raises `Fenced`, `Dropped`, `Unavailable` or
        `Poisoned` as `ReadModel.write` promises.
        """
        events, erased = without_erased(batch.events)
        with self.step(batch.advances) as cursor:
            if batch.removed:
                cursor.execute(self._remove, _arrays(batch.removed))
            if erased:
                cursor.execute(self._erase, _arrays(list(erased.items())))
            if events:
                packed = batch.packed if events is batch.events else ()
                copy_rows(cursor, _COPY, packed or map(_pack_event, events))
                cursor.execute(self._add)

    def pack_event(self, event: UserEvent) -> bytes:
        """Return `event` as a row of COPY; see `PacksEvents`."""
        return _pack_event(event)

    def row_of(self, event: UserEvent) -> Row:
        """Return the row of `event`: all fields but the event id, which the others determine.

        Without who asked, if the version has no column for it.
        """
        kind, changes, user, issuer = _kept(event)
        key = (event["user_id"], event["version"], event["seq"], event["occurred_at"])
        what = (*key, kind, event["command_id"], _sorted_json(changes))
        by = (issuer,) if self._has_issuer else ()
        if user is None:
            return (*what, None, None, None, None, None, None, *by)
        state = (user["email"], user["email_key"], user["name"], user["age"])
        return (*what, *state, user["created_at"], user["created_by"], *by)

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield every stored event, in the form of `row_of`."""
        yield from self._rows_of(None)

    def rows_of(self, part: Part) -> Iterator[Sequence[Row]]:
        """Yield the rows of a part; see `DividesRows`."""
        yield from self._rows_of(part)

    def _rows_of(self, part: Part | None) -> Iterator[Sequence[Row]]:
        text = _ROWS if self._has_issuer else _ROWS_WITHOUT_ISSUER
        for rows in self.fetch(text, part):
            yield [(*row[:6], _sorted_json(row[6]), *row[7:]) for row in rows]


def history_versions(settings: Settings) -> PostgresVersions:
    """Return the versions of this read model."""
    return PostgresVersions(settings, PostgresHistory.name, WHOLE_HISTORY, SHAPE, PostgresHistory)


def _sorted_json(changes: object) -> str | None:
    # Sorted, because PostgreSQL stores the keys of an object in its own order.
    return orjson.dumps(changes, option=orjson.OPT_SORT_KEYS).decode() if changes else None


def without_erased(events: Sequence[UserEvent]) -> tuple[Sequence[UserEvent], Mapping[str, int]]:
    """Return the events that no erasure among them covers, and user id → version of each erasure.

    Of several events with the same user and version, the first is kept.
    """
    if not _ascending(events):  # not from our handler, which writes each version once
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


def _ascending(events: Sequence[UserEvent]) -> bool:
    """Return whether the versions of each user strictly increase."""
    last: dict[str, int] = {}
    for event in events:
        user_id, version = event["user_id"], event["version"]
        if last.get(user_id, 0) >= version:
            return False
        last[user_id] = version
    return True


def _arrays(keys: Sequence[EventKey]) -> tuple[list[str], list[int]]:
    return [user_id for user_id, _ in keys], [version for _, version in keys]


def _pack_event(event: UserEvent) -> bytes:
    kind, changes, user, issuer = _kept(event)
    occurred_at = (event["occurred_at"] - EPOCH_MS) * 1000
    parts = [
        _ROW_BEGIN.pack(
            *(_COLUMNS, 16, uuid_bytes(event["user_id"])),
            *(8, event["version"], 8, event["seq"], 8, occurred_at),
        ),
        *_text(kind),
        *_text(event["command_id"]),
        *(_value(_JSONB_VERSION + orjson.dumps(changes)) if changes else (NULL,)),
    ]
    if user is None:
        parts.append(_NO_USER)
    else:
        created_at = (user["created_at"] - EPOCH_MS) * 1000
        parts += (
            *_text(user["email"]),
            *_text(user["email_key"]),
            *_text(user["name"]),
            _AGE_AND_CREATION.pack(4, user["age"], 8, created_at),
            *_text(user["created_by"]),
        )
    parts += (NULL,) if issuer is None else _text(issuer)
    return b"".join(parts)


def _kept(event: UserEvent) -> tuple[str, list[FieldChange], User | None, str | None]:
    """Return what is stored of an event: its type, its changes, the user after it, who asked."""
    if event["type"] == USER_ERASED:  # no personal data, whatever a foreign event contains
        return USER_ERASED, [], None, None
    return event["type"], event["changes"], event["user"], event["issued_by"]


def _text(text: str) -> tuple[bytes, bytes]:
    return _value(text.encode())


def _value(value: bytes) -> tuple[bytes, bytes]:
    return LENGTH.pack(len(value)), value
