"""Measures a peer: the library `eventsourcing` on the same PostgreSQL, one command per save.

rollbook does not depend on it: `uv sync --group benchmark` installs it, pinned.
"""

import multiprocessing
import os
import queue
import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, LiteralString

from psycopg import sql

from projectors.postgres.store.database import Database
from runtime.settings import Settings
from schemas.errors import CheckFailed, Misconfigured
from scripts.bench.workload.people import Person, people
from scripts.bench.workload.stores import postgres_login

LIBRARY = "eventsourcing"

_WARM_UP_COMMANDS = 50
_READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class PeerSetup:
    """One way to run the peer.

    `clients` are processes with one connection each; each waits for a command before it sends the
    next. `synchronous_commit` is PostgreSQL's, on or off. With `functions` an insert is one call of
    a function in the database, as in the library's own speed runs; its default is off, which locks
    the table for the sake of its readers.
    """

    clients: int
    synchronous_commit: str
    functions: bool

    def __str__(self) -> str:
        functions = ", functions" if self.functions else ""
        return f"{self.clients} × {LIBRARY}, commit {self.synchronous_commit}{functions}"


def check_peer_installed() -> None:
    """Raise `Misconfigured` if the peer is not installed."""
    if find_spec(LIBRARY) is None:
        raise Misconfigured(
            f"the peer, the library {LIBRARY}, is not installed",
            code="peer_not_installed",
            next_step="`uv sync --group benchmark` installs it; --without-peer skips it",
        )


def peer_version() -> str:
    """Return which version of the peer is installed."""
    return version(LIBRARY)


def peer_setups(clients: int) -> list[PeerSetup]:
    """Return the ways to run the peer, the default settings with one client first."""
    return [
        PeerSetup(number, commit, functions)
        for number in (1, clients)
        for functions in (False, True)
        for commit in ("on", "off")
    ]


def peer_creates_per_second(
    settings: Settings, setup: PeerSetup, count: int, seconds: float
) -> float:
    """Register the first of `count` users for at most `seconds`; return how many a second.

    Each client registers its share, one user after the other. The tables are dropped afterwards.
    """
    from scripts.bench.peers.eventsourcing_application import Users

    spawn = multiprocessing.get_context("spawn")
    start, rates = spawn.Barrier(setup.clients), spawn.Queue()
    persons = list(people(count))
    with fresh_schema(settings) as schema:
        environment = environment_of_peer(settings, setup, schema)
        Users(env=environment).close()  # creates the tables
        clients = []
        for number in range(setup.clients):
            share = persons[number :: setup.clients]
            arguments = (environment, share, seconds, start, rates)
            clients.append(spawn.Process(target=_register, args=arguments))
            clients[-1].start()
        try:
            found = [rates.get(timeout=_READY_SECONDS + seconds) for _ in clients]
        except queue.Empty:
            raise CheckFailed("a client of the peer ended early: its error is above") from None
        finally:
            for client in clients:
                client.terminate()
                client.join()
    return float(sum(found))


def _register(
    environment: dict[str, str],
    persons: list[Person],
    seconds: float,
    start: Any,
    rates: Any,
) -> None:
    """Register people for at most `seconds`, as one client, once all clients are warm."""
    # PostgreSQL's client library reads it; the peer has no setting for it.
    os.environ["PGOPTIONS"] = environment["PGOPTIONS"]
    from scripts.bench.peers.eventsourcing_application import Users

    users = Users(env=environment | {"CREATE_TABLE": "no"})
    warm_up = min(_WARM_UP_COMMANDS, len(persons) // 2)
    for person in persons[:warm_up]:
        users.register(*person)
    start.wait(_READY_SECONDS)
    began, registered = time.perf_counter(), 0
    for person in persons[warm_up:]:
        users.register(*person)
        registered += 1
        if time.perf_counter() - began >= seconds:
            break
    rates.put(registered / (time.perf_counter() - began))


def environment_of_peer(settings: Settings, setup: PeerSetup, schema: str) -> dict[str, str]:
    """Return the peer's own settings, with one connection to PostgreSQL."""
    login = postgres_login(settings)
    return {
        "PGOPTIONS": f"-c synchronous_commit={setup.synchronous_commit}",
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        **{f"POSTGRES_{name.upper()}": value for name, value in login.items()},
        "POSTGRES_SCHEMA": schema,
        "POSTGRES_POOL_SIZE": "1",
        "POSTGRES_MAX_OVERFLOW": "0",
        "POSTGRES_ENABLE_DB_FUNCTIONS": "yes" if setup.functions else "no",
    }


@contextmanager
def fresh_schema(settings: Settings) -> Iterator[str]:
    """Yield the name of an empty PostgreSQL schema, dropped at the end."""
    name = f"bench_{secrets.token_hex(4)}"
    with closing(Database(settings)) as database:
        _execute(database, "CREATE SCHEMA {name}", name)
        try:
            yield name
        finally:
            _execute(database, "DROP SCHEMA {name} CASCADE", name)


def _execute(database: Database, text: LiteralString, name: str) -> None:
    with database.session() as connection:
        connection.execute(database.statement(text, name=sql.Identifier(name)))


def server_durability(settings: Settings) -> dict[str, str]:
    """Return which failures lose nothing on this PostgreSQL, by `synchronous_commit`."""
    with closing(Database(settings)) as database, database.session() as connection:
        row = connection.execute(
            "SELECT current_setting('fsync') = 'on',"
            " 3 * extract(epoch FROM current_setting('wal_writer_delay')::interval)"
        ).fetchone()
    fsync, window_seconds = row or (False, 0)
    if not fsync:
        return dict.fromkeys(("on", "off"), "client and server crash; no power cut (fsync off)")
    late = f"but for the last {float(window_seconds):g} s: server crash, power cut"
    return {"on": "client and server crash, power cut", "off": f"client crash; {late}"}
