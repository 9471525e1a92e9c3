"""Read models are rebuilt, swapped, rolled back and dropped while they serve."""

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial

import pytest

from producers.client.command_client import CommandClient
from projectors.catalog import OURS, open_versions
from projectors.contract.read_model import READY, Batch, Dropped, Row
from projectors.contract.source import LATEST_STATE
from projectors.elasticsearch.search.queries import UserSearch
from projectors.history.queries import EventStore
from projectors.postgres.store.shape import StoredVersion
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.queries import UserQueries
from projectors.postgres.users.schema import SHAPE
from projectors.postgres.users.writer import PostgresUsers
from projectors.versions import swap
from projectors.versions.compare import compare
from projectors.versions.rebuild import Rebuild, RebuildDiffersError
from projectors.versions.rebuild_lock import is_rebuilding, rebuild_lock
from projectors.versions.status import read_status
from projectors.versions.visibility import Visibility
from runtime.kafka.registry import Registry
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import NotInTime, Rejected
from schemas.records import UserEvent
from schemas.topics import EVENTS
from tests.depth import depth
from tests.integration.forged_log import ForgedLog, email_of, id_of
from tests.observed.catch_up import wait_caught_up
from tests.observed.readers import Query, Readers, Seen
from tests.samples.events import event_of
from tests.started.processes import Rollbook, RunningProcess, eventually

USERS = 3_000


@pytest.fixture
def forged(settings: Settings) -> ForgedLog:
    """A log with users."""
    log = ForgedLog(settings)
    log.users(0, USERS)
    return log


def queries_of(settings: Settings, user_id: str, email: str) -> Query:
    """Ask every store about a user whose versions grow, and for the number of users."""
    opened = ExitStack()
    queries = opened.enter_context(closing(UserQueries(settings)))
    store = opened.enter_context(closing(EventStore(settings)))
    search = opened.enter_context(closing(UserSearch(settings)))

    def ask() -> Seen:
        return {
            "get": queries.get_user(user_id).version,
            "total": queries.get_user_summary().total_users,
            "history": len(store.get_events(user_id)),
            "search": search.search_users(email)[0]["version"],
        }

    return ask, opened.close


class Writer:
    """Changes one user and creates others until the `with` block ends."""

    def __init__(self, settings: Settings, user_id: str) -> None:
        self._settings = settings
        self._user_id = user_id
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _write(self) -> None:
        number = 0
        with CommandClient(self._settings) as client:
            while not self._stopping.wait(depth(0.02, 0.0)):
                number += 1
                client.update_user(self._user_id, age=number % 100)
                client.create_user(f"new{number}@example.com", "Zoë New", 30)


def test_queries_and_projection_continue_through_rebuild_swap_rollback_and_drop(
    settings: Settings, rollbook: Rollbook, handler: RunningProcess
) -> None:
    """No reader sees an error, a missing user, or data going back."""
    projectors = [rollbook.start_projector(name) for name in OURS]
    made = rollbook.json(
        *("users", "create", "--email", "jane@example.com", "--name", "Jane", "--age", "34")
    )
    wait_caught_up(settings)
    with Visibility(settings, OURS) as visibility:
        visibility.wait(made["token"], 60)
    questions = partial(queries_of, settings, made["user_id"], "jane@example.com")
    with Readers(questions) as readers, Writer(settings, made["user_id"]):
        for name in OURS:
            built = rollbook.json("projector", "rebuild", name)
            assert (built["version"], built["users_left_out"]) == (2, 0)
            for step in (
                *((("swap", name, "2"), ("rollback", name)) * depth(1, 3)),
                ("drop", name, "2", "--yes"),
            ):
                done = rollbook.run("projector", *step)
                assert done.returncode == 0, done.stderr
        eventually(readers.have_asked(5), what="it reads on")
    wait_caught_up(settings)
    found = rollbook.run("verify")
    assert found.returncode == 0, found.stdout
    assert {one.version for one in read_status(settings).partitions} == {1}
    assert all(process.stop() == 0 for process in projectors)


class Lying(PostgresUsers):
    """Expects rows that it never writes."""

    def row_of(self, event: UserEvent) -> Row:
        return (event["user_id"], "never", *super().row_of(event))


def test_a_version_that_differs_from_the_log_is_not_made_ready(
    forged: ForgedLog, settings: Settings
) -> None:
    """It is dropped, because no projector would erase users from it; the live one is untouched."""

    def open_lying(settings: Settings, there: StoredVersion) -> Lying:
        return Lying(settings, there)

    with closing(
        PostgresVersions(settings, "postgres", LATEST_STATE, SHAPE, open_lying)
    ) as versions:
        with pytest.raises(RebuildDiffersError) as differs:
            Rebuild(settings, versions, StopSignal()).run()
        assert str(USERS) in str(differs.value)
        assert [v.state for v in versions.versions()] == [READY]
        number = versions.create()
        with pytest.raises(Rejected) as refused:
            swap.swap(settings, versions, number)
        assert refused.value.code == "version_not_ready"
    with closing(open_versions(settings, "postgres")) as truthful:
        rebuilt = Rebuild(settings, truthful, StopSignal()).run()
        assert rebuilt is not None
        assert rebuilt.comparison.rows == USERS
        assert [(v.state, v.live) for v in truthful.versions()] == [(READY, True), (READY, False)]


@pytest.mark.parametrize("name", depth(["postgres", "elasticsearch"], [*OURS]))
def test_processes_share_a_rebuild_and_find_what_differs(
    forged: ForgedLog, settings: Settings, name: str
) -> None:
    """Also a row that the version has and the log has not; one user's dead letter is left out."""
    forged.users(7, 1, version=2, name="Ja\0ne")
    left_out = 0 if name == "elasticsearch" else 1
    with closing(open_versions(settings, name)) as versions:
        built = Rebuild(settings, versions, StopSignal(), processes=3).run()
        assert built is not None
        assert built.comparison.with_letters == left_out
        again = Rebuild(settings, versions, StopSignal(), processes=3)

        def write_one_more() -> None:
            if again.progress.step == "comparing with the log":
                again.on_progress = lambda: None
                with closing(versions.open(versions.versions()[-1].number)) as model:
                    model.write(Batch([event_of(email_of(USERS), number=USERS)], {}))

        again.on_progress = write_one_more
        with pytest.raises(RebuildDiffersError) as differs:
            again.run()
        assert f" 1 users, such as {id_of(USERS)}" in str(differs.value)
        assert [version.number for version in versions.versions()] == [1, built.version]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_rebuild_that_is_asked_to_stop_while_it_compares_stops(
    forged: ForgedLog, settings: Settings, processes: int
) -> None:
    stopping = StopSignal()
    with closing(open_versions(settings, "postgres")) as versions:
        rebuild = Rebuild(settings, versions, stopping, processes)

        def stop_when_comparing() -> None:
            at = rebuild.progress
            if at.step == "comparing with the log" and at.fraction > 0:
                stopping.set()

        rebuild.on_progress = stop_when_comparing
        assert rebuild.run() is None
        assert [version.number for version in versions.versions()] == [1]


def test_users_with_a_dead_letter_are_left_out_of_the_comparison(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook
) -> None:
    """A user that PostgreSQL cannot store is legitimately missing, and is reported as left out."""
    forged.users(7, 1, version=2, name="Ja\0ne")
    forged.users(8, 1, version=2, name="Jane the second")
    built = rollbook.json("projector", "rebuild", "postgres")
    assert (built["users_left_out"], built["rows_compared"]) == (1, USERS - 1)


def test_users_changed_after_the_checkpoint_are_left_out_of_the_comparison(
    forged: ForgedLog, settings: Settings
) -> None:
    """Compaction may have removed their earlier records; no others are removed."""
    with closing(open_versions(settings, "postgres")) as versions:
        rebuilt = Rebuild(settings, versions, StopSignal()).run()
        assert rebuilt is not None
        with closing(versions.open(rebuilt.version)) as model:
            decode = Registry(settings).codec(EVENTS.schema).decode
            assert compare(settings, model, decode, {}).same
            # Stored, but not in the log before the checkpoint: as if its record had been compacted.
            model.write(Batch([event_of(email_of(USERS + 7), number=USERS + 7)], {}))
            missing = compare(settings, model, decode, {})
            assert missing.differing == [id_of(USERS + 7)]
            forged.users(USERS + 7, 1, version=2)
            found = compare(settings, model, decode, {})
            assert (found.same, found.rows, found.changed) == (True, USERS, 1)


def test_a_swap_times_out_if_no_projector_keeps_the_version_up_to_date(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "HOLD_SECONDS", 0.2)
    assert rollbook.run("projector", "rebuild", "postgres").returncode == 0
    forged.users(USERS, 5)
    with closing(open_versions(settings, "postgres")) as versions:
        with pytest.raises(NotInTime) as behind:
            swap.swap(settings, versions, 2)
        assert (behind.value.code, "5 events" in str(behind.value)) == ("version_behind", True)
        rollbook.start_projector("postgres")
        eventually(lambda: succeeds(lambda: swap.swap(settings, versions, 2)), what="swapped")
        assert [v.live for v in versions.versions()] == [False, True]
        swap.swap(settings, versions, 2)
        assert swap.version_before(versions) == 1


def succeeds(step: Callable[[], None]) -> bool:
    """Return whether the version was close enough."""
    try:
        step()
    except NotInTime:
        return False
    return True


def test_a_second_rebuild_is_refused_while_one_runs(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook
) -> None:
    """Whatever step the first one is in; the version it builds is not touched."""
    with closing(open_versions(settings, "postgres")) as versions:
        with rebuild_lock(settings, "postgres"):
            versions.begin()
            building = versions.create()
            refused = rollbook.json("projector", "rebuild", "postgres", code=3)
            assert refused["error"]["code"] == "rebuild_running"
            assert rollbook.run("projector", "rebuild", "history").returncode == 0
            assert [v.number for v in versions.versions()] == [1, building]
            assert is_rebuilding(settings, "postgres")
        eventually(lambda: not is_rebuilding(settings, "postgres"))
        assert not is_rebuilding(settings, "never-rebuilt")
        assert rollbook.run("projector", "rebuild", "postgres").returncode == 0
        assert building not in [v.number for v in versions.versions()]


def test_a_rebuild_whose_version_is_dropped_fails(forged: ForgedLog, settings: Settings) -> None:
    """It does not mistake a missing version for a complete one."""
    with closing(open_versions(settings, "postgres")) as versions:
        versions.begin()
        rebuild = Rebuild(settings, versions, StopSignal())

        def drop_it() -> None:
            if rebuild.progress.step == "reading the log":
                with closing(open_versions(settings, "postgres")) as others:
                    others.drop(2)

        rebuild.on_progress = drop_it
        with pytest.raises(Dropped):
            rebuild.run()
        assert [v.number for v in versions.versions()] == [1]
