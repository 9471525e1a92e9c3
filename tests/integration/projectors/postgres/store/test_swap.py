"""A swap in PostgreSQL: readers notice nothing, whatever happens to the swapping process."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest

from projectors.contract.read_model import Advance, Dropped, Position
from projectors.postgres.store import publish
from projectors.postgres.store.database import Database
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.queries import UserQueries
from projectors.postgres.users.writer import postgres_versions
from projectors.promises.events import user_id
from runtime.settings import Settings
from schemas.errors import Fenced, RollbookError, Unavailable
from tests.integration.projectors.postgres.users.user_queries import (
    USERS,
    batch,
    gets,
    lists,
    selects_all_columns,
    summarises,
    swap_to,
)
from tests.observed.read_models import OpenVersion, at_once, live_versions, ready_version
from tests.observed.readers import Readers
from tests.started.processes import Rollbook, eventually

ANSWERS = 150  # between two steps, so that every reader has queried several times


def other_version(versions: PostgresVersions) -> int:
    """Return another version that is ready and has all users."""
    step = Advance(None, Position("topic", USERS, 0))
    return ready_version(versions, *batch(1), advances={0: step})


class Follower:
    """Keeps a version up to date in a thread, from an endless log.

    Batch n of the log brings every user to version n.
    """

    def __init__(self, settings: Settings, number: int) -> None:
        self.applied = 0
        self._settings = settings
        self._number = number
        self._stopping = threading.Event()
        self._error: RollbookError | None = None
        self._thread = threading.Thread(target=self._follow)

    def start(self) -> "Follower":
        self._thread.start()
        return self

    def stop(self) -> RollbookError | None:
        """Stop; return the error that stopped it before, if any."""
        self._stopping.set()
        self._thread.join()
        return self._error

    def _follow(self) -> None:
        try:
            with OpenVersion(postgres_versions(self._settings), self._number) as opened:
                self.applied = opened.position.next_offset // USERS if opened.position else 0
                while not self._stopping.is_set():
                    opened.write(*batch(self.applied + 1))
                    self.applied += 1
        except RollbookError as error:
            self._error = error


def assert_progress(follower: Follower) -> None:
    """Wait until it has applied another batch."""
    before = follower.applied
    eventually(lambda: follower.applied > before, what="another batch")


def test_readers_notice_no_rebuild_swap_rollback_or_drop(
    settings: Settings, versions: PostgresVersions
) -> None:
    """No user is missing, no version goes back, no query fails; both versions stay up to date."""
    first = Follower(settings, 1).start()
    eventually(lambda: first.applied)
    questions = [
        partial(ask, settings) for ask in (gets, gets, lists, summarises, selects_all_columns)
    ]
    with Readers(*questions) as readers:
        number = versions.create()
        building = Follower(settings, number).start()
        eventually(lambda: building.applied > 2)
        versions.finish(number)
        assert isinstance(building.stop(), Fenced)
        second = Follower(settings, number).start()
        versions.accept(number)
        for goal in (number, 1, number):
            eventually(readers.have_asked(ANSWERS), what="queries")
            swap_to(versions, goal)
            assert live_versions(versions) == [goal]
            assert_progress(first)
            assert_progress(second)
        eventually(readers.have_asked(ANSWERS), what="queries")
        versions.drop(1)
        assert isinstance(first.stop(), Dropped)
        eventually(readers.have_asked(ANSWERS), what="queries")
    assert second.stop() is None


SWAP_AND_HANG = """
import time
from projectors.postgres.store import versions
from projectors.postgres.users.writer import postgres_versions
from runtime.settings import load_settings

def hang():
    print("locked", flush=True)
    time.sleep(600)

versions._LOCK_EXPIRY = versions._LOCK_EXPIRY.replace("60s", "SECONDS")
postgres_versions(load_settings({}).settings).swap(2, hang)
"""


@pytest.mark.parametrize(
    ("expiry", "sent"),
    [("60s", signal.SIGKILL), ("2s", signal.SIGSTOP)],
    ids=["killed", "frozen"],
)
def test_a_swap_that_is_killed_or_frozen_changes_nothing_and_blocks_no_writer(
    settings: Settings,
    versions: PostgresVersions,
    rollbook: Rollbook,
    expiry: str,
    sent: signal.Signals,
) -> None:
    """It stops while it blocks the writers of the live version."""
    with OpenVersion(postgres_versions(settings)) as first:
        first.write(*batch(1))
        other_version(versions)
        swapping = subprocess.Popen(
            [sys.executable, "-c", SWAP_AND_HANG.replace("SECONDS", expiry)],
            env=rollbook.environment(),
            stdout=subprocess.PIPE,
        )
        assert swapping.stdout is not None
        with swapping.stdout, ThreadPoolExecutor(1) as thread:
            assert swapping.stdout.readline() == b"locked\n"
            writing = thread.submit(first.write, *batch(2))
            eventually(lambda: waiting_for_lock(first), what="the writer waits")
            with closing(UserQueries(settings)) as queries:
                assert queries.get_user(user_id(1)).version == 1
            assert not writing.done()
            swapping.send_signal(sent)
            writing.result(30)
        swapping.kill()
        swapping.wait()
    assert live_versions(versions) == [1]
    with OpenVersion(postgres_versions(settings), 2) as second:
        second.write(*batch(2))
    swap_to(versions, 2)
    assert live_versions(versions) == [2]


def waiting_for_lock(opened: OpenVersion) -> bool:
    """Return whether a statement waits for a lock on the version's checkpoint."""
    waiting = opened.rows(
        "SELECT FROM pg_locks WHERE NOT granted AND relation = '{schema}.checkpoints'::regclass"
    )
    return bool(waiting)


def test_a_long_query_of_a_view_stops_only_the_swap(
    settings: Settings, versions: PostgresVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap gives up; between its attempts other queries are answered, and writers continue."""
    monkeypatch.setattr(publish, "_TRIES", 2)
    monkeypatch.setattr(publish, "_PAUSE_SECONDS", 0.1)
    with OpenVersion(postgres_versions(settings)) as first, closing(Database(settings)) as reading:
        first.write(*batch(1))
        number = other_version(versions)
        with reading.session() as connection:
            with connection.transaction():
                connection.execute(reading.statement("SELECT FROM {schema}.user_summary"))
                with Readers(partial(gets, settings), partial(summarises, settings)) as readers:
                    with pytest.raises(Unavailable) as in_use:
                        versions.swap(number, at_once)
                    eventually(readers.have_asked(20))
                assert in_use.value.code == "views_in_use"
                first.write(*batch(2))
            assert live_versions(versions) == [1]
            versions.swap(number, at_once)
            assert live_versions(versions) == [number]
