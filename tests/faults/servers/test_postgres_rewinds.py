"""A crash of PostgreSQL may lose the last commits: data and checkpoint together, or neither.

Projectors commit without waiting for the disk (`synchronous_commit=off`). In these tests the WAL
writer sleeps for ten seconds instead of 0.2 s, so that every crash loses commits.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from projectors.postgres.store.database import Database
from projectors.postgres.users.writer import postgres_versions
from projectors.versions.compare import compare
from projectors.versions.visibility import Visibility
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import NotInTime
from schemas.topics import EVENTS
from tests.depth import DEEP
from tests.faults.outage import Servers
from tests.integration.forged_log import ForgedLog
from tests.observed.catch_up import wait_caught_up
from tests.started.processes import Rollbook

LAZILY = {"wal_writer_delay": "'10s'", "wal_writer_flush_after": "'1GB'"}


@contextmanager
def written_lazily(settings: Settings) -> Iterator[None]:
    """Make PostgreSQL write its WAL to disk late, inside the `with` block."""
    with closing(Database(settings)) as database, database.session() as connection:
        for name, value in LAZILY.items():
            connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        with closing(Database(settings)) as database, database.session() as connection:
            for name in LAZILY:
                connection.execute(f"ALTER SYSTEM RESET {name}".encode())
            connection.execute("SELECT pg_reload_conf()")


def token(settings: Settings) -> str:
    """Return the token of everything that the read model has applied."""
    with closing(postgres_versions(settings)) as versions, closing(versions.open(1)) as model:
        found = model.checkpoint()
    return ",".join(f"{p}:{position.last_seq}" for p, position in sorted(found.items()))


def rows(settings: Settings) -> dict[str, int]:
    """Return user id → version from the read model."""
    with closing(Database(settings)) as database, database.session() as connection:
        shown = database.statement("SELECT id::text, version FROM {schema}.user_views")
        return dict(connection.execute(shown).fetchall())


def keep(settings: Settings) -> dict[str, int]:
    """Make PostgreSQL write everything to disk; return the rows that are now safe."""
    with closing(Database(settings)) as database, database.session() as connection:
        connection.execute("CHECKPOINT")
    return rows(settings)


def equals_the_log(settings: Settings) -> bool:
    """Return whether the read model equals a fold of the log up to its checkpoint."""
    decode = Registry(settings).codec(EVENTS.schema).decode
    with closing(postgres_versions(settings)) as versions, closing(versions.open(1)) as model:
        found = compare(settings, model, decode, {})
    return found.same and found.rows > 0


@pytest.mark.skipif(not DEEP, reason="test_nemesis.py rewinds PostgreSQL; in `make test-deep`")
def test_a_running_projector_applies_lost_commits_again(
    settings: Settings, rollbook: Rollbook, servers: Servers
) -> None:
    """PostgreSQL is killed under load; the projector notices the lost checkpoint."""
    forged = ForgedLog(settings)
    forged.users(0, 2_000)
    with written_lazily(settings):
        process = rollbook.start_projector("postgres")
        for round_number in (1, 2):
            for step in range(5):
                forged.users(300 * step, 700, version=10 * round_number + step)
            wait_caught_up(settings, "postgres")
            servers.crash("postgres")
            forged.users(1_000, 500, version=10 * round_number + 5)
            servers.bring_back("postgres")
            process.wait_for("starting again at the checkpoint", times=round_number)
            wait_caught_up(settings, "postgres")
            assert rows(settings) == forged.versions
            assert equals_the_log(settings)
        assert process.stop() == 0


@pytest.mark.skipif(not DEEP, reason="takes 40 s, mostly to crash again; in `make test-deep`")
def test_a_satisfied_token_is_waited_for_again_after_lost_commits(
    settings: Settings, rollbook: Rollbook, servers: Servers
) -> None:
    """After the crash the read model lacks its event, and no query answers as if it had it."""
    forged = ForgedLog(settings)
    forged.users(0, 1_000)
    with written_lazily(settings), Visibility(settings, ["postgres"]) as visibility:
        process = rollbook.start_projector("postgres")
        wait_caught_up(settings, "postgres")
        kept = keep(settings)
        forged.users(0, 500, version=2)  # the other users show that nothing else changed
        wait_caught_up(settings, "postgres")
        satisfied, shown = token(settings), rows(settings)
        visibility.wait(satisfied, 1)
        process.freeze()
        servers.crash("postgres")
        servers.bring_back("postgres")
        assert kept == rows(settings) != shown
        assert equals_the_log(settings)
        with Visibility(settings, ["postgres"]) as again, pytest.raises(NotInTime):
            again.wait(satisfied, 1)
        asked = rollbook.run("users", "summary", "--after", satisfied, "--timeout", "1")
        assert asked.returncode == 4
        process.thaw()
        assert rollbook.run("users", "summary", "--after", satisfied).returncode == 0
        assert rows(settings) == shown
        assert process.stop() == 0
