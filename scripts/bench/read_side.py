"""Measures the query side: both projectors over one log, and the bare stores they write to."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import sql

from projectors.elasticsearch.bulk import BULK_DOCUMENTS, IN_FLIGHT, bulk_lines
from projectors.elasticsearch.client import NDJSON_HEADERS, connect
from projectors.elasticsearch.indexes import users_body
from projectors.elasticsearch.mapping import document
from projectors.runner import Runner
from projectors.wiring import READ_MODELS
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import CheckFailed
from schemas.identity import email_shard, event_id, new_user_id
from schemas.records import USER_CREATED, UserEvent
from scripts.bench.people import people

_LOOK_SECONDS = 0.02
_MOST_SECONDS = 600.0
_CREATED_AT = 1_790_000_000_000


def projector_events_per_second(settings: Settings, name: str, count: int) -> float:
    """Project the `count` events on the log into an empty read model; return their rate.

    The clock runs from the first checkpoint seen to the one that holds all, so joining the group is
    not measured.
    """
    watched = READ_MODELS[name](settings)
    watched.reset()
    watched.prepare()
    stop = StopSignal()
    runner = Runner(settings, READ_MODELS[name](settings), stop)
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:

        def applied() -> int:
            return sum(position.last_seq for position in watched.checkpoint().values())

        first, began = _when(applied, 1, thread)
        last, ended = _when(applied, count, thread)
        return (last - first) / (ended - began)
    finally:
        stop.set()
        thread.join()
        watched.close()


def _when(value: Callable[[], int], least: int, thread: threading.Thread) -> tuple[int, float]:
    """Return the first value from `least` on, and when it was seen."""
    deadline = time.perf_counter() + _MOST_SECONDS
    while (now := time.perf_counter()) < deadline and thread.is_alive():
        found = value()
        if found >= least:
            return found, now
        time.sleep(_LOOK_SECONDS)
    raise CheckFailed("the projector did not come to the end of the log; see its log above")


def events(count: int) -> list[UserEvent]:
    """Return `count` creations as they stand on the log."""
    return [created_event(number, *person) for number, person in enumerate(people(count))]


def created_event(number: int, email: str, name: str, age: int) -> UserEvent:
    """Return one creation as it stands on the log; the same for the same arguments."""
    user_id = new_user_id(email_shard(email), _CREATED_AT, number)
    return {
        "event_id": event_id(user_id, 1),
        "command_id": f"bench-{number}",
        "seq": number + 1,
        "user_id": user_id,
        "version": 1,
        "occurred_at": _CREATED_AT,
        "type": USER_CREATED,
        "changes": [],
        "user": {
            "email": email,
            "email_key": email,
            "name": name,
            "age": age,
            "created_at": _CREATED_AT,
            "created_by": f"bench-{number}",
        },
    }


def copy_rows_per_second(settings: Settings, count: int) -> float:
    """Copy the same users, binary, into a heap without a key: what PostgreSQL takes at most."""
    rows = [(number, *person) for number, person in enumerate(people(count))]
    table = sql.Identifier(f"{settings.prefix}-heap")
    copy = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)
    with psycopg.connect(
        settings.postgres_url, password=settings.postgres_password or None
    ) as connection:
        connection.execute(
            sql.SQL("CREATE TABLE {} (n bigint, email text, name text, age integer)").format(table)
        )
        connection.commit()
        started = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy(copy) as stream:
            stream.set_types(["int8", "text", "text", "int4"])
            for row in rows:
                stream.write_row(row)
        connection.commit()
        seconds = time.perf_counter() - started
        connection.execute(sql.SQL("DROP TABLE {}").format(table))
    return count / seconds


def bulk_documents_per_second(settings: Settings, count: int) -> float:
    """Send the same documents, serialised before, into the same mapping: the limit of the index."""
    index = settings.named("rollbook-limit")
    lines = [bulk_lines(event, document) for event in events(count)]
    bodies = [
        b"".join(lines[start : start + BULK_DOCUMENTS]) for start in range(0, count, BULK_DOCUMENTS)
    ]
    client = connect(settings)
    client.indices.create(index=index, **users_body(settings))

    def send(part: bytes) -> None:
        client.perform_request(
            "POST",
            f"/{index}/_bulk",
            params={"filter_path": "errors"},
            headers=NDJSON_HEADERS,
            body=part,
        )

    try:
        started = time.perf_counter()
        with ThreadPoolExecutor(IN_FLIGHT) as senders:
            list(senders.map(send, bodies))
        return count / (time.perf_counter() - started)
    finally:
        client.indices.delete(index=index)
        client.close()
