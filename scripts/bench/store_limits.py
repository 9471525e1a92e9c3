"""The limits that the stores set: the same rows and documents, made before, and nothing else done.

No log is read and nothing is looked up, there is no checkpoint, no summary, no version to compare:
what is left is the store.
"""

import struct
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Final, LiteralString
from uuid import UUID

from psycopg import sql

from projectors.elasticsearch.client import NDJSON_HEADERS
from projectors.elasticsearch.index.bulk import BULK_DOCUMENTS, IN_FLIGHT, bulk_lines
from projectors.elasticsearch.index.mapping import document
from projectors.postgres.store.tables import COPY_BEGIN, COPY_END
from schemas.records import UserEvent
from scripts.bench.event_log import events
from scripts.bench.user_index import UserIndex
from scripts.bench.user_table import UserTable

GUARANTEE: Final = "none: the limit"
_COLUMNS: Final = ("user_id", "version", "email", "name", "age", "created_at", "updated_at")
# PostgreSQL counts times from 2000-01-01.
_EPOCH_MS: Final = 946_684_800_000
_COPY: Final = "COPY {table} ({columns}) FROM STDIN (FORMAT binary)"
_HEAP: Final = "CREATE TABLE {table} AS SELECT {columns} FROM {schema}.users WITH NO DATA"


def copied_rows_per_second(table: UserTable, count: int) -> float:
    """Copy `count` users, binary, into the empty `table` with its key and indexes."""
    return _copy(table, table.name, count)


def copied_heap_rows_per_second(table: UserTable, count: int) -> float:
    """Copy them into a table without key, index and generated columns beside `table`."""
    _run(table, _HEAP, "heap")
    try:
        return _copy(table, "heap", count)
    finally:
        _run(table, "DROP TABLE {table}", "heap")


def _copy(table: UserTable, name: str, count: int) -> float:
    data = b"".join([COPY_BEGIN, *map(_row, events(count)), COPY_END])
    with table.database.session() as connection, connection.transaction():
        started = time.perf_counter()
        with connection.cursor().copy(_statement(table, _COPY, name)) as stream:
            stream.write(data)
    return count / (time.perf_counter() - started)


def _row(event: UserEvent) -> bytes:
    """Return a row of a binary COPY: each value after its length."""
    user = event["user"]
    assert user is not None  # noqa: S101 - these users were just created
    values = (
        UUID(event["user_id"]).bytes,
        struct.pack(">q", event["version"]),
        user["email"].encode(),
        user["name"].encode(),
        struct.pack(">i", user["age"]),
        *(
            struct.pack(">q", (ms - _EPOCH_MS) * 1000)
            for ms in (user["created_at"], event["occurred_at"])
        ),
    )
    lengths = (struct.pack(">i", len(value)) for value in values)
    return struct.pack(">h", len(values)) + b"".join(chain(*zip(lengths, values, strict=True)))


def _run(table: UserTable, text: LiteralString, name: str) -> None:
    with table.database.session() as connection:
        connection.execute(_statement(table, text, name))


def _statement(table: UserTable, text: LiteralString, name: str) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    place = sql.Identifier(table.schema, name)
    return table.database.statement(text, table=place, columns=columns)


def bulk_documents_per_second(index: UserIndex, count: int) -> float:
    """Send `count` users, serialised before, into the empty `index`; as many at once as ours."""
    lines = [bulk_lines(event, document) for event in events(count)]
    bodies = [
        b"".join(lines[start : start + BULK_DOCUMENTS]) for start in range(0, count, BULK_DOCUMENTS)
    ]

    def send(body: bytes) -> None:
        index.client.perform_request(
            "POST",
            f"/{index.name}/_bulk",
            params={"filter_path": "errors"},
            headers=NDJSON_HEADERS,
            body=body,
        )

    with ThreadPoolExecutor(IN_FLIGHT) as senders:
        started = time.perf_counter()
        list(senders.map(send, bodies))
        return count / (time.perf_counter() - started)
