"""Processes that change the versions of a read model concurrently do not harm each other."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from projectors.catalog import open_versions
from projectors.contract.read_model import Advance, Batch, Position
from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import users_index
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.elasticsearch.index.write_lock import WriteLock, WritesPaused
from projectors.elasticsearch.index.writer import ElasticsearchUsers
from projectors.postgres.store import tables
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.writer import PostgresUsers, postgres_versions
from projectors.promises.events import user_event
from projectors.versions import swap
from projectors.versions.rebuild import Rebuild
from projectors.versions.status import CAUGHT_UP, read_status
from runtime.process import StopSignal
from runtime.settings import Settings
from runtime.topics.admin import check_topics
from schemas.errors import Fenced, NotInTime, Unavailable
from schemas.topics import EVENTS
from tests.integration.forged_log import ForgedLog
from tests.observed.read_models import live_versions, ready_version
from tests.started.processes import Rollbook, eventually


@pytest.fixture
def versions(settings: Settings) -> Iterator[PostgresVersions]:
    """The versions of the read model in PostgreSQL, with a live one; removed after the test."""
    with closing(postgres_versions(settings)) as versions:
        versions.begin()
        yield versions


def test_a_swap_does_not_wait_for_a_version_that_is_being_indexed(
    settings: Settings, versions: PostgresVersions
) -> None:
    """Indexing takes minutes, and every query would wait behind the swap."""
    number, building = ready_version(versions), versions.create()
    with (
        closing(postgres_versions(settings)) as rebuilding,
        rebuilding._database.session() as connection,
        connection.transaction(),
    ):
        rebuilding._finish(connection, building)
        versions.swap(number, lambda: None)
    assert live_versions(versions) == [number]


def test_a_version_built_from_an_earlier_topic_has_not_caught_up(
    settings: Settings, versions: PostgresVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far it was: the seqs of the re-created topic start at 1 again."""
    monkeypatch.setattr(swap, "HOLD_SECONDS", 0.2)
    ForgedLog(settings).users(0, 40)
    number = ready_version(versions)
    with closing(versions.open(number)) as model:
        steps = {p: Advance(None, Position("before", 99, 99)) for p in range(settings.partitions)}
        model.write(Batch([], steps))
        with pytest.raises(NotInTime, match="40 events behind"):
            swap.swap(settings, versions, number)
        topic_id = check_topics(settings)[EVENTS.name]
        there = {p: Position(topic_id, 99, 99) for p in steps}
        model.write(Batch([], {p: Advance(steps[p].after, there[p]) for p in steps}))
    swap.swap(settings, versions, number)


def test_a_truncated_log_affects_only_the_version_that_had_not_read_it(
    settings: Settings, versions: PostgresVersions, rollbook: Rollbook
) -> None:
    """A version built from the rest is kept up to date, and can go live."""
    log = ForgedLog(settings)
    log.users(0, 40)
    with closing(versions.open(1)) as model:
        behind_its_end = Position(check_topics(settings)[EVENTS.name], 999, 1)
        model.write(Batch([], {0: Advance(None, behind_its_end)}))
    assert rollbook.json("projector", "rebuild", "postgres")["version"] == 2
    projector = rollbook.start_projector("postgres")
    projector.wait_for("but the log goes from")
    log.users(100, 40)

    def kept() -> bool:
        found = [one for one in read_status(settings).partitions if one.version == 2]
        return all(one.state == CAUGHT_UP for one in found)

    eventually(kept, what="version 2 is kept up to date")
    assert rollbook.run("projector", "swap", "postgres", "2").returncode == 0
    assert projector.stop() == 0


def test_a_comparison_first_makes_all_writes_visible(settings: Settings) -> None:
    """In Elasticsearch a search, and so a comparison, sees the state of the last refresh."""
    ForgedLog(settings).users(0, 50)
    with closing(open_versions(settings, "elasticsearch")) as versions:
        versions.begin()
        number = versions.create()
        rebuild = Rebuild(settings, versions, StopSignal())
        rebuild._read(number, "before it is refreshed by itself", None)
        assert rebuild._compare(number, None).rows == 50


def test_a_write_block_set_after_its_lock_was_released_is_removed(settings: Settings) -> None:
    """A swap was frozen between the two steps of its lock; nothing else removes that block."""
    with closing(ElasticsearchVersions(settings)) as versions, closing(connect(settings)) as client:
        versions.begin()
        index, minutes = users_index(settings, 1), iter((0.0, 61.0))
        frozen, blocked = WriteLock(client, index), WriteLock(client, index, lambda: next(minutes))
        assert frozen._replace([frozen._write_alias], frozen._alias)
        for _ in range(2):
            blocked.release_expired()
        client.indices.add_block(index=index, block="write")
        with closing(versions.open(1)) as model:
            with pytest.raises(WritesPaused):
                write(model)
            frozen.release()
            write(model)


def write(model: ElasticsearchUsers) -> None:
    """Store something."""
    model.write(Batch([user_event(1)], {}))


def test_a_frozen_writer_is_disconnected_and_another_continues(
    versions: PostgresVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a machine that failed during a step would keep its partition locked for hours."""
    step = {0: Advance(None, Position("topic", 1, 1))}
    other = versions.open(1)
    with monkeypatch.context() as patch:
        patch.setattr(tables, "WRITER_SESSION", {"transaction_timeout": "500ms"})
        still = versions.open(1)
    with closing(still), closing(other):
        assert isinstance(still, PostgresUsers)
        with pytest.raises(Unavailable), still.step(step):
            other.write(Batch([user_event(1)], step))
        assert other.checkpoint() == {0: step[0].after}
        with pytest.raises(Fenced):
            still.write(Batch([user_event(1)], step))
