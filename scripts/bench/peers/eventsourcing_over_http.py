"""Runs a peer: the library `eventsourcing` behind FastAPI, as somebody would build it today.

Of the ways that were tried, with 64 clients, it runs the fastest. Two processes with eight
connections each create users; that is as many processes as rollbook has for it, a service and a
handler. Calling the library in the event loop instead of threads gave no more creations, and a 99th
percentile of over a second. Gets read a row by its key over psycopg's pool, which takes two thirds
of the processor time of the library's `repository.get`; its cache did not help, since it asks the
database for later events. In production a projection would keep the rows up to date; here they are
written once, so that creations do not bear its cost.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from psycopg import sql

from projectors.postgres.store.database import Database
from runtime.settings import Settings
from scripts.bench.peers.eventsourcing_library import PeerSetup, environment_of_peer, fresh_schema
from scripts.bench.workload.http_service import Service, running_services
from scripts.bench.workload.people import Person, people
from scripts.stack.places import free_port

_PROCESSES: Final = 2
_CONNECTIONS: Final = 8
_MODULE: Final = "scripts.bench.peers.eventsourcing_service"
_TABLE: Final = """
CREATE TABLE {table} (
    id uuid PRIMARY KEY, email text, name text, age int, version int,
    created_at timestamptz DEFAULT now())"""


@dataclass(frozen=True, slots=True)
class ServedPeer:
    """The processes of the peer, and the users that it has. One of them is enough for gets."""

    ports: Sequence[int]
    pids: Sequence[int]
    user_ids: Sequence[str] = field(repr=False)


@contextmanager
def served_peer(settings: Settings, users: int) -> Iterator[ServedPeer]:
    """Run the peer with so many users; drop its tables afterwards."""
    with fresh_schema(settings) as schema, ExitStack() as stack:
        environment = environment_of_peer(settings, PeerSetup(1, "on", functions=True), schema)
        user_ids = _fill(settings, schema, environment, list(people(users)))
        environment |= {"CREATE_TABLE": "no", "POSTGRES_POOL_SIZE": str(_CONNECTIONS)}
        ports = [free_port(set())]
        while len(ports) < _PROCESSES:
            ports.append(free_port(set(ports)))
        services = [
            Service(
                [sys.executable, "-m", _MODULE, str(port)],
                os.environ | environment,
                port,
                "/openapi.json",
            )
            for port in ports
        ]
        processes = stack.enter_context(running_services(*services))
        pids = [process.process.pid for process in processes]
        yield ServedPeer(ports, pids, [str(user_id) for user_id in user_ids])


def _fill(
    settings: Settings, schema: str, environment: dict[str, str], persons: Sequence[Person]
) -> list[UUID]:
    """Write users as events and as rows; return their ids."""
    from scripts.bench.peers.eventsourcing_application import Users

    users = Users(env=environment)
    try:
        user_ids = users.register_all(persons)
    finally:
        users.close()
    table = sql.Identifier(schema, "user_rows")
    with closing(Database(settings)) as database, database.session() as connection:
        connection.execute(database.statement(_TABLE, table=table))
        copy = sql.SQL("COPY {} (id, email, name, age, version) FROM STDIN").format(table)
        with connection.cursor() as cursor, cursor.copy(copy) as rows:
            for user_id, person in zip(user_ids, persons, strict=True):
                rows.write_row((user_id, *person, 1))
    return user_ids
