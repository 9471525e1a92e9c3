"""The upper bounds of the stores: only the writing of prepared rows and documents is measured.

No log is read, nothing is looked up, and there is no checkpoint, no summary and no comparison of
versions: what remains is the store's own work, at the concurrency at which it is fastest.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from typing import Final

from psycopg import sql

from projectors.elasticsearch.client import NDJSON_HEADERS
from projectors.elasticsearch.index.bulk import BULK_DOCUMENTS, IN_FLIGHT, bulk_lines
from projectors.elasticsearch.index.mapping import document
from projectors.postgres.store.database import Database
from scripts.bench.peers.topics import table_row
from scripts.bench.workload.event_log import events
from scripts.bench.workload.stores import UserIndex, UserTable

# Tried in turn: the fastest one counts. Requests and connections at once.
BULK_AT_ONCE: Final = (2, IN_FLIGHT, 6)
COPY_CONNECTIONS: Final = (1, 2, 4)
GUARANTEE: Final = "none: an upper bound"
_COLUMNS: Final = ("user_id", "version", "email", "name", "age", "created_at", "updated_at")
_STAGING: Final = """
CREATE TEMP TABLE staging ON COMMIT DROP AS SELECT {columns} FROM {schema}.users WITH NO DATA"""
_FILL: Final = "COPY staging FROM STDIN"
_READ: Final = "COPY staging TO STDOUT (FORMAT binary)"
_HEAP: Final = "CREATE TABLE {schema}.heap AS SELECT {columns} FROM {schema}.users WITH NO DATA"
_COPY: Final = "COPY {table} ({columns}) FROM STDIN (FORMAT binary)"


def copied_rows_per_second(table: UserTable, count: int, connections: int) -> float:
    """Copy `count` users, binary, into the empty `table` with its key and indexes."""
    return _copy(table, table.name, count, connections)


def copied_heap_rows_per_second(table: UserTable, count: int, connections: int) -> float:
    """Copy them into a table without key, index and generated columns."""
    with table.database.session() as connection:
        connection.execute(_statement(table, _HEAP))
    return _copy(table, "heap", count, connections)


def _copy(table: UserTable, name: str, count: int, connections: int) -> float:
    """Copy an equal share of the rows over each connection; making the rows is not measured."""
    shares = [_binary(table, count, number, connections) for number in range(connections)]
    with ExitStack() as opened, ThreadPoolExecutor(connections) as threads:
        databases = [opened.enter_context(closing(table.connect())) for _ in shares]
        for database in databases:
            with database.session() as connection:
                connection.execute("SELECT")  # connecting is not measured
        copy = partial(_copy_share, table, name)
        started = time.perf_counter()
        list(threads.map(copy, databases, shares))
        return count / (time.perf_counter() - started)


def _copy_share(table: UserTable, name: str, database: Database, rows: bytes) -> None:
    with database.session() as connection, connection.transaction():
        cursor = connection.cursor()
        with cursor.copy(_statement(table, _COPY, name)) as stream:
            stream.write(rows)


def _binary(table: UserTable, count: int, number: int, shares: int) -> bytes:
    """Let PostgreSQL turn a share of the users into binary rows."""
    with table.database.session() as connection, connection.transaction():
        cursor = connection.cursor()
        cursor.execute(_statement(table, _STAGING))
        with cursor.copy(_FILL) as staged:
            for event in islice(events(count), number, None, shares):
                staged.write_row(tuple(table_row(event).values()))
        with cursor.copy(_READ) as binary:
            return b"".join(map(bytes, binary))


def _statement(table: UserTable, text: str, name: str = "users") -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    place = sql.Identifier(table.schema, name)
    return table.database.statement(text, table=place, columns=columns)


def bulk_documents_per_second(index: UserIndex, count: int, at_once: int = IN_FLIGHT) -> float:
    """Send `count` serialised users to `index`, with so many requests at once."""
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

    with ThreadPoolExecutor(at_once) as senders:
        started = time.perf_counter()
        list(senders.map(send, bodies))
        return count / (time.perf_counter() - started)
