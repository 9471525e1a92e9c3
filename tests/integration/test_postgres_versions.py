"""Versions of the read model in PostgreSQL: built, swapped, rolled back and dropped while used."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from projectors.postgres import publish, writer
from projectors.postgres.database import Database
from projectors.postgres.queries import UserQueries
from projectors.postgres.versions import PostgresVersions
from projectors.postgres.writer import postgres_versions
from projectors.read_model import Advance, Dropped, Position
from runtime.settings import Settings
from schemas.errors import Fenced, Rejected, RollbookError, Unavailable
from schemas.identity import partition_of, user_shard
from schemas.records import UserEvent
from scripts.bench.stores import remove_read_models
from tests.processes import Rollbook, eventually
from tests.read_models import Held, id_of, user_event
from tests.readers import Question, Readers, Seen

USERS = 120
ANSWERS = 150  # between two things that are done: every reader has asked several times


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


def batch(version: int) -> list[UserEvent]:
    """Return events that bring every user to `version`; their ages change with it."""
    return [user_event(n, version, age=(n + version) % 100) for n in range(USERS)]


@pytest.fixture
def versions(settings: Settings) -> Iterator[PostgresVersions]:
    """The versions of the read model, the first begun; they go with the test."""
    with closing(postgres_versions(settings)) as versions:
        versions.begin()
        yield versions
    remove_read_models(settings)


def gets(settings: Settings) -> Question:
    """Ask for one user after the other; none may be missing."""
    queries = UserQueries(settings)
    numbers = iter(range(10**9))

    def ask() -> Seen:
        user_id = id_of(next(numbers) % USERS)
        return {user_id: queries.get_user(user_id).version}

    return ask, queries.close


def lists(settings: Settings) -> Question:
    """Ask for a page with all of them; nobody may be missing."""
    queries = UserQueries(settings)

    def ask() -> Seen:
        users = queries.get_users_by_age_range(limit=1000).users
        assert len(users) == USERS
        return {user.user_id: user.version for user in users}

    return ask, queries.close


def sums(settings: Settings) -> Question:
    """Ask for the summary."""
    queries = UserQueries(settings)

    def ask() -> Seen:
        summary = queries.get_user_summary()
        assert summary.total_users == sum(summary.users_by_age_group.values()) == USERS
        assert summary.last_updated is not None
        return {"last updated": int(summary.last_updated.timestamp() * 1000)}

    return ask, queries.close


def prepared(settings: Settings) -> Question:
    """Ask as a stranger does: all columns, prepared once on the server."""
    database = Database(settings)
    statement = database.statement("SELECT * FROM {schema}.user_views")

    def ask() -> Seen:
        with database.session() as connection:
            rows = connection.execute(statement, prepare=True).fetchall()
        assert len(rows) == USERS
        return {str(row[0]): row[7] for row in rows}

    return ask, database.close


def swap_to(versions: PostgresVersions, number: int) -> None:
    """Swap once version `number` has come to where the live one is held."""
    [live] = [version.number for version in versions.versions() if version.live]
    versions.swap(number, lambda: await_version(versions, number, live))


def goes_on(follower: Follower) -> None:
    """Wait until it has applied more than now."""
    before = follower.applied
    eventually(lambda: follower.applied > before, what="it goes on")


def await_version(versions: PostgresVersions, number: int, other: int) -> None:
    """Wait until one version is where the other is now."""
    with closing(versions.open(number)) as model, closing(versions.open(other)) as held:
        reached = held.checkpoint()[0].next_offset

        def caught_up() -> bool:
            position = model.checkpoint().get(0)
            return position is not None and position.next_offset >= reached

        eventually(caught_up, what="caught up")


def live(versions: PostgresVersions) -> list[int]:
    """Return the numbers of the versions that are live."""
    return [version.number for version in versions.versions() if version.live]


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
from projectors.postgres import versions
from projectors.postgres.writer import postgres_versions
from runtime.settings import load_settings

def hang():
    print("held", flush=True)
    time.sleep(600)

versions._MOST_HELD = versions._MOST_HELD.replace("60s", "HELD_AT_MOST")
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
                assert queries.get_user(id_of(1)).version == 1
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


def built(versions: PostgresVersions, settings: Settings) -> int:
    """Make another version that is ready, with everybody in it."""
    number = versions.create()
    with Held(postgres_versions(settings), number) as held:
        held.write(*batch(1))
    versions.finish(number)
    versions.accept(number)
    return number


def waiting_for_lock(held: Held) -> bool:
    """Say whether a statement waits for a lock on the version's checkpoint."""
    waiting = held.rows(
        "SELECT FROM pg_locks WHERE NOT granted AND relation = '{schema}.checkpoints'::regclass"
    )
    return bool(waiting)


def test_many_who_begin_at_once_make_one_version(settings: Settings) -> None:
    """And whoever comes later makes none."""
    together = threading.Barrier(8)

    def begin(_: int) -> list[int]:
        with closing(postgres_versions(settings)) as versions:
            together.wait()
            versions.begin()
            return live(versions)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(begin, range(8))) == [[1]] * 8
    remove_read_models(settings)


def test_what_must_not_go_live_or_be_dropped_is_refused(versions: PostgresVersions) -> None:
    """A version that is not ready, one there is not, the live one; nothing has then changed."""
    number = versions.create()
    for unready in (number, 99):
        with pytest.raises(Rejected) as refused:
            versions.swap(unready, lambda: None)
        assert refused.value.code == "version_not_ready"
    with pytest.raises(Rejected) as refused:
        versions.drop(1)
    assert refused.value.code == "version_is_live"
    assert live(versions) == [1]
    for _ in range(2):
        versions.drop(number)
        versions.finish(number)
        with pytest.raises(Dropped):
            versions.accept(number)
    versions.swap(1, lambda: pytest.fail("it is live already"))


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


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "building"])
def test_writers_of_different_partitions_do_not_wait_for_each_other(
    settings: Settings, versions: PostgresVersions, *, finished: bool
) -> None:
    """One is in the middle of its transaction while the other begins and ends several."""
    number = 1 if finished else versions.create()
    near, far = ([n for n in range(USERS) if partition(n, settings) == p] for p in (0, 1))
    one: Any = versions.open(number)
    step = Advance(None, Position("topic", 1, 0))
    with (
        closing(one),
        Held(postgres_versions(settings), number) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        with one._tables.step({1: step}) as cursor:
            writer._copy(cursor, [user_event(n) for n in far])
            cursor.execute(one._apply)
            for version in (1, 2):
                thread.submit(other.write, *[user_event(n, version) for n in near]).result(20)
        assert one.checkpoint() == {0: other.position, 1: step.after}


def partition(number: int, settings: Settings) -> int:
    """Return the partition of user `number`."""
    return partition_of(user_shard(id_of(number)), settings.partitions)
