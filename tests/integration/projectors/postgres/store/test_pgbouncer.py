"""PgBouncer in front of PostgreSQL: it works in session mode and is refused in transaction mode."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from projectors.postgres.store.database import Database
from runtime.settings import Settings
from schemas.errors import Misconfigured
from scripts.stack.places import HOST, free_port
from tests.started.processes import eventually

# Debian installs it where only root looks.
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="pgbouncer is not installed (Debian package pgbouncer)"
)


@contextmanager
def pgbouncer(settings: Settings, directory: Path, pool_mode: str) -> Iterator[Settings]:
    """Run PgBouncer in front of the server; yield settings that go through it."""
    url, port = urlsplit(settings.postgres_url), free_port(set())
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        "[databases]\n"
        f"rollbook = host={url.hostname} port={url.port} dbname=rollbook user=rollbook "
        f"password={settings.postgres_password}\n"
        "[pgbouncer]\n"
        f"listen_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {pool_mode}\n"
    )
    for path in (directory, configuration):
        path.chmod(0o755)
    # It refuses to run as root.
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [str(PGBOUNCER), "-q", *as_user, str(configuration)], stderr=subprocess.DEVNULL
    )
    try:
        pooled = replace(settings, postgres_url=f"postgresql://rollbook@{HOST}:{port}/rollbook")

        def answers() -> bool:
            try:
                psycopg.connect(pooled.postgres_url, connect_timeout=1).close()
            except psycopg.OperationalError:
                return False
            return True

        eventually(answers)
        yield pooled
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def readable_directory() -> Iterator[Path]:
    """A directory that PgBouncer's user may enter, unlike those of pytest."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as directory:
        yield Path(directory)


def test_in_session_mode_a_session_has_its_settings(
    store: Settings, readable_directory: Path
) -> None:
    """They are set after connecting: PgBouncer refuses options at the start of a connection."""
    with pgbouncer(store, readable_directory, "session") as pooled:
        database = Database(pooled, session={"default_transaction_read_only": "on"})
        with database.session() as connection:
            for name, value in (
                ("default_transaction_read_only", "on"),
                ("timezone", "UTC"),
                ("client_encoding", "UTF8"),
            ):
                found = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
                assert found == (value,)
        database.close()


def test_in_transaction_mode_it_is_refused(store: Settings, readable_directory: Path) -> None:
    """Settings and prepared statements of a session would be lost, or found by others."""
    with (
        pgbouncer(store, readable_directory, "transaction") as pooled,
        pytest.raises(Misconfigured, match="pool_mode = transaction") as refused,
        Database(pooled).session(),
    ):
        pass
    assert refused.value.code == "shared_sessions"
