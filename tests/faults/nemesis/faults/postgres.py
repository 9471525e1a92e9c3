"""PostgreSQL fails as servers do: at the worst moment, for a while, or with an older state."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from tests.faults.nemesis.faults.common import Broken, Fault, server_frozen, server_killed, wait
from tests.faults.nemesis.system import ARMED, System
from tests.started.processes import RunningProcess

_WRITERS: Final = ("postgres", "history")
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


@contextmanager
def _killed_in_transaction(system: System, _target: str, chance: Random) -> Broken:
    """Let a projector kill the server after its COPY, or while its COMMIT is on the way.

    It is a second projector, which takes over half of the partitions.
    """
    pid, model = system.servers.pid("postgres"), chance.choice(_WRITERS)
    point, moment = chance.choice(
        (("after COPY", "between COPY and COMMIT"), ("before COMMIT", "during COMMIT"))
    )
    delay_ms = chance.uniform(0.1, 1.5) if moment == "during COMMIT" else 0
    options = ("--kill-server", str(pid), "--delay-ms", f"{delay_ms:.1f}")
    with _second(system, model, point, *options):
        died = wait(lambda: not psutil.pid_exists(pid or 0))
        if not died:  # it was given nothing to write
            yield
            return
        system.servers.crash("postgres")
        system.happened[f"postgres killed {moment}"] += 1
        try:
            yield
        finally:
            system.servers.start("postgres")


@contextmanager
def _second(system: System, model: str, point: str, *options: str) -> Iterator[RunningProcess]:
    command = ("--at", point, *options, "projector", "run", model)
    process = system.rollbook.start_module(ARMED, *command)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def _rewound(system: System, _target: str, _chance: Random) -> Broken:
    """Bring back the state from before the `with` block, as a failover to a late replica does."""
    cluster = system.servers.folder("postgres") / "cluster"
    with TemporaryDirectory(dir=cluster.parent) as folder:
        before = Path(folder, "cluster")
        system.servers.crash("postgres")
        try:
            _copy(cluster, before)
        finally:
            system.servers.bring_back("postgres")
        yield
        system.servers.crash("postgres")
        try:
            subprocess.run(["rm", "-rf", cluster], check=True)
            _copy(before, cluster)
            system.happened["postgres killed and rewound"] += 1
        finally:
            system.servers.start("postgres")


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--archive", "--reflink=auto", source, target], check=True)


POSTGRES_FAULTS: Final[Mapping[str, Fault]] = {
    "PostgreSQL killed": partial(server_killed, "postgres"),
    "PostgreSQL killed in a transaction": _killed_in_transaction,
    "PostgreSQL rewound": _rewound,
    "PostgreSQL frozen": partial(server_frozen, "postgres"),
    "PostgreSQL's connections cut": _connections_cut,
    "PostgreSQL read-only": _read_only,
}
