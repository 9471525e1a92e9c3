"""PostgreSQL and Elasticsearch fail as servers do, and projectors with them."""

import time
from collections.abc import Mapping
from contextlib import closing, contextmanager
from functools import partial
from random import Random
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from tests.faults.nemesis.faults.common import (
    Broken,
    Fault,
    frozen,
    killed,
    server_frozen,
    server_killed,
)
from tests.faults.nemesis.system import System

_CUT: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"""


def _postgres(system: System, statement: str) -> int:
    url, password = system.settings.postgres_url, system.settings.postgres_password
    options = "-c default_transaction_read_only=off"
    url = make_conninfo(url, password=password or None, options=options)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        return connection.execute(statement.encode()).rowcount


@contextmanager
def _connections_cut(system: System, _target: str, chance: Random) -> Broken:
    for _ in range(chance.randint(1, 4)):
        system.happened["PostgreSQL's connections cut"] += bool(_postgres(system, _CUT))
        time.sleep(chance.uniform(0, 1))
    yield


@contextmanager
def _read_only(system: System, _target: str, _chance: Random) -> Broken:
    _postgres(system, "ALTER SYSTEM SET default_transaction_read_only = on")
    _postgres(system, "SELECT pg_reload_conf()")
    system.happened["PostgreSQL read-only"] += 1
    try:
        yield
    finally:
        _postgres(system, "ALTER SYSTEM RESET default_transaction_read_only")
        _postgres(system, "SELECT pg_reload_conf()")


STORE_FAULTS: Final[Mapping[str, Fault]] = {
    "PostgreSQL killed": partial(server_killed, "postgres"),
    "PostgreSQL frozen": partial(server_frozen, "postgres"),
    "PostgreSQL's connections cut": _connections_cut,
    "PostgreSQL read-only": _read_only,
    "Elasticsearch killed": partial(server_killed, "elasticsearch"),
    "Elasticsearch frozen": partial(server_frozen, "elasticsearch"),
    "projector killed": killed,
    "projector frozen": frozen,
}
