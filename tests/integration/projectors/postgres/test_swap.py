"""A swap in PostgreSQL: readers notice nothing of it, whatever becomes of the one who swaps."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest

from projectors.contract.read_model import Dropped
from projectors.postgres.store import publish
from projectors.postgres.store.database import Database
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.queries import UserQueries
from projectors.postgres.users.writer import postgres_versions
from projectors.promises.events import user_id
from runtime.settings import Settings
from schemas.errors import Fenced, RollbookError, Unavailable
from tests.integration.projectors.postgres.shown_users import (
    USERS,
    batch,
    built,
    gets,
    lists,
    live,
    prepared,
    sums,
    swap_to,
)
from tests.processes import Rollbook, eventually
from tests.read_models import Held
from tests.readers import Readers

ANSWERS = 150  # between two things that are done: every reader has asked several times


@pytest.fixture
def versions(settings: Settings) -> Iterator[PostgresVersions]:
    """The versions of the read model, the first begun; they go with the test."""
    with closing(postgres_versions(settings)) as versions:
        versions.begin()
        yield versions


class Follower:
    """Keeps a version up to date with a log of the test's own, while within.

    The log never ends: its batch n brings every user to version n.
    """

    def __init__(self, settings: Settings, number: int) -> None:
        self.applied = 0
        self._settings = settings
        self._number = number
        self._stopping = threading.Event()
        self._error: RollbookError | None = None
        self._thread = threading.Thread(target=self._follow)

    def start(self) -> "Follower":
        """Begin, or go on after it was fenced."""
        self._thread.start()
        return self

    def stop(self) -> RollbookError | None:
        """End it; return what ended it before."""
        self._stopping.set()
        self._thread.join()
        return self._error

    def _follow(self) -> None:
        try:
            with Held(postgres_versions(self._settings), self._number) as held:
                self.applied = held.position.next_offset // USERS if held.position else 0
                while not self._stopping.is_set():
                    held.write(*batch(self.applied + 1))
                    self.applied += 1
        except RollbookError as error:
            self._error = error


def goes_on(follower: Follower) -> None:
    """Wait until it has applied more than now."""
    before = follower.applied
    eventually(lambda: follower.applied > before, what="it goes on")


def test_readers_notice_nothing_of_a_rebuild_a_swap_a_rollback_and_a_drop(
    settings: Settings, versions: PostgresVersions
) -> None:
    """Nobody is missing, nothing goes back, nothing fails, and both versions are written to."""
    first = Follower(settings, 1).start()
    eventually(lambda: first.applied)
    questions = [partial(ask, settings) for ask in (gets, gets, lists, sums, prepared)]
    with Readers(*questions) as readers:
        number = versions.create()
        building = Follower(settings, number).start()
        eventually(lambda: building.applied > 2)
        versions.finish(number)
        assert isinstance(building.stop(), Fenced)
        second = Follower(settings, number).start()
        versions.accept(number)
        for goal in (number, 1, number):
            eventually(readers.have_asked(ANSWERS), what="asked")
            swap_to(versions, goal)
            assert live(versions) == [goal]
            goes_on(first)
            goes_on(second)
        eventually(readers.have_asked(ANSWERS), what="asked")
        versions.drop(1)
        assert isinstance(first.stop(), Dropped)
        eventually(readers.have_asked(ANSWERS), what="asked")
    assert second.stop() is None


SWAP_AND_HANG = """
import time
from projectors.postgres.store import versions
from projectors.postgres.users.writer import postgres_versions
from runtime.settings import load_settings

def hang():
    print("held", flush=True)
    time.sleep(600)

versions._LOCK_EXPIRY = versions._LOCK_EXPIRY.replace("60s", "HELD_AT_MOST")
postgres_versions(load_settings({}).settings).swap(2, hang)
"""


@pytest.mark.parametrize(
    ("most_held", "number"), [("60s", signal.SIGKILL), ("2s", signal.SIGSTOP)], ids=["-9", "lost"]
)
def test_a_swap_that_is_killed_has_changed_nothing_and_holds_nobody(
    settings: Settings,
    versions: PostgresVersions,
    rollbook: Rollbook,
    most_held: str,
    number: signal.Signals,
) -> None:
    """Killed while the writers of the live version are held, or heard of no more."""
    with Held(postgres_versions(settings)) as first:
        first.write(*batch(1))
        built(versions, settings)
        swapping = subprocess.Popen(
            [sys.executable, "-c", SWAP_AND_HANG.replace("HELD_AT_MOST", most_held)],
            env=rollbook.environment(),
            stdout=subprocess.PIPE,
        )
        assert swapping.stdout is not None
        with swapping.stdout, ThreadPoolExecutor(1) as thread:
            assert swapping.stdout.readline() == b"held\n"
            writing = thread.submit(first.write, *batch(2))
            eventually(lambda: waiting_for_lock(first), what="the writer is held")
            with closing(UserQueries(settings)) as queries:
                assert queries.get_user(user_id(1)).version == 1
            assert not writing.done()
            swapping.send_signal(number)
            writing.result(30)
        swapping.kill()
        swapping.wait()
    assert live(versions) == [1]
    with Held(postgres_versions(settings), 2) as second:
        second.write(*batch(2))
    swap_to(versions, 2)
    assert live(versions) == [2]


def waiting_for_lock(held: Held) -> bool:
    """Say whether a statement waits for a lock on the version's checkpoint."""
    waiting = held.rows(
        "SELECT FROM pg_locks WHERE NOT granted AND relation = '{schema}.checkpoints'::regclass"
    )
    return bool(waiting)


def test_a_long_query_of_a_view_stops_the_swap_and_nobody_else(
    settings: Settings, versions: PostgresVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap gives up, other queries are answered between its tries, writers go on."""
    monkeypatch.setattr(publish, "_TRIES", 2)
    monkeypatch.setattr(publish, "_PAUSE_SECONDS", 0.1)
    with Held(postgres_versions(settings)) as first, closing(Database(settings)) as reading:
        first.write(*batch(1))
        number = built(versions, settings)
        with reading.session() as connection:
            with connection.transaction():
                connection.execute(reading.statement("SELECT FROM {schema}.user_summary"))
                with Readers(partial(gets, settings), partial(sums, settings)) as readers:
                    with pytest.raises(Unavailable) as in_use:
                        versions.swap(number, lambda: None)
                    eventually(readers.have_asked(20))
                assert in_use.value.code == "views_in_use"
                first.write(*batch(2))
            assert live(versions) == [1]
            versions.swap(number, lambda: None)
            assert live(versions) == [number]
