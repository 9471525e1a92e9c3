"""Swaps in Elasticsearch while other processes read, write, die and freeze.

Locks of killed swaps expire sooner here than in production.
"""

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from projectors.contract.read_model import Advance, Batch, Dropped, Position
from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index import write_lock
from projectors.elasticsearch.index.indexes import USERS_ALIAS, users_index
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.elasticsearch.index.write_lock import WriteLock, WritesPaused
from projectors.elasticsearch.index.writer import ElasticsearchUsers
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Unavailable
from tests.depth import depth
from tests.observed.read_models import at_once, live_versions, ready_version
from tests.observed.readers import Query, Readers, Seen
from tests.started.processes import eventually

FIRST = Position("topic-1", 10, 5)
USERS_THERE = 300
AHEAD = 3  # events per user that the slow version lags behind


def seen(settings: Settings) -> dict[str, int]:
    """Return user id → version, as searches see them now."""
    with closing(connect(settings)) as client:
        alias = settings.named(USERS_ALIAS)
        hits = client.search(index=alias, size=1000, source={"includes": ["version"]})["hits"][
            "hits"
        ]
    return {hit["_id"]: hit["_source"]["version"] for hit in hits}


class Log:
    """Events in order: one thread appends, the others each apply them to a version."""

    def __init__(self) -> None:
        self.events = [user_event(number) for number in range(USERS_THERE)]
        self.ended = threading.Event()
        self.applied = {1: 0, 2: 0}

    def append(self) -> None:
        """Append events of every user, never far ahead of the slowest version."""
        while not self.ended.wait(0.01):
            if len(self.events) - min(self.applied.values()) < AHEAD * USERS_THERE:
                version = len(self.events) // USERS_THERE + 1
                self.events += [user_event(number, version) for number in range(USERS_THERE)]

    def keep(self, model: ElasticsearchUsers, most: int) -> None:
        """Apply the log to a version until it ends, `most` events per batch."""
        done = 0
        while not (self.ended.is_set() and done == len(self.events)):
            end = min(done + most, len(self.events))
            batch = {event["user_id"]: event for event in self.events[done:end]}
            try:
                model.write(Batch(list(batch.values()), {}))
                model.make_visible()
            except Dropped:
                return
            except Unavailable:  # writes are paused
                continue
            done = self.applied[model.version] = end

    def await_applied_by(self, number: int) -> Callable[[], None]:
        """Return a function that waits until a version has applied the log so far."""

        def wait() -> None:
            end = len(self.events)
            eventually(lambda: self.applied[number] >= end, what=f"version {number} at {end}")

        return wait


def searches(settings: Settings) -> Query:
    """Search all users; none may be missing."""

    def ask() -> Seen:
        found = seen(settings)
        assert len(found) == USERS_THERE
        return found

    return ask, at_once


def test_a_reader_never_sees_a_user_go_back(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """Swaps back and forth, then a drop, while two writers continue, one of them far behind."""
    log = Log()
    with closing(versions.open(1)) as model:
        model.write(Batch(log.events, {}))
        model.make_visible()
    assert ready_version(versions, *log.events) == 2
    models = [versions.open(1), versions.open(2)]
    with Readers(partial(searches, settings)) as readers, ThreadPoolExecutor(3) as together:
        try:
            # One applies all events at once, the other needs many requests.
            kept = [
                together.submit(log.keep, model, most)
                for model, most in zip(models, (AHEAD * USERS_THERE, 50), strict=True)
            ]
            kept.append(together.submit(log.append))
            for number in depth((2, 1, 2), (2, 1, 2, 1, 2)):
                versions.swap(number, log.await_applied_by(number))
                assert live_versions(versions) == [number]
            versions.drop(1)
            log.await_applied_by(2)()
            eventually(readers.have_asked(10))
        finally:
            log.ended.set()
        for each in kept:
            each.result()
    assert set(seen(settings).values()) == {len(log.events) // USERS_THERE}
    assert [version.number for version in versions.versions()] == [2]
    for model in models:
        model.close()


SWAP_AND_HANG = """
import sys, time
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from runtime.settings import load_settings
flags = {"prefix": sys.argv[2], "partitions": "4"}
versions = ElasticsearchVersions(load_settings(flags, config=sys.argv[1]).settings)
def hang():
    print("locked", flush=True)
    time.sleep(600)
versions.swap(int(sys.argv[3]), hang)
"""


@pytest.fixture
def killed_swap(settings: Settings, stack: Any, versions: ElasticsearchVersions) -> int:
    """Return a version that was about to go live when the swapping process was killed."""
    number = ready_version(versions)
    arguments = [str(stack.config_file), settings.prefix, str(number)]
    process = subprocess.Popen(
        [sys.executable, "-c", SWAP_AND_HANG, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    process.kill()
    process.wait()
    process.stdout.close()
    return number


def test_a_writer_releases_the_lock_of_a_killed_swap(
    versions: ElasticsearchVersions, killed_swap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost meanwhile, and the swap can be repeated."""
    with closing(versions.open(1)) as model:
        batch = Batch([user_event(1)], {0: Advance(None, FIRST)})
        with pytest.raises(WritesPaused):
            model.write(batch)
        assert live_versions(versions) == [1]
        assert model.checkpoint() == {}
        monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", 0.5)

        def is_written() -> bool:
            try:
                model.write(batch)
            except WritesPaused:
                return False
            return True

        eventually(is_written)
        assert model.checkpoint() == {0: FIRST}
    versions.swap(killed_swap, at_once)
    assert live_versions(versions) == [killed_swap]


def test_a_swap_takes_over_the_lock_of_a_killed_swap(
    versions: ElasticsearchVersions, killed_swap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No projector needs to be running."""
    monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", 0.5)
    versions.swap(killed_swap, at_once)
    assert live_versions(versions) == [killed_swap]
    with closing(versions.open(1)) as model:
        model.write(Batch([user_event(1)], {}))


def test_a_rollback_works_after_a_swap_was_killed_at_its_end(
    settings: Settings, versions: ElasticsearchVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old version is still locked, and with an idle log no writer has noticed."""
    number = ready_version(versions)
    versions.swap(number, at_once)
    WriteLock(versions._client, users_index(settings, 1)).acquire()
    monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", 0.5)
    versions.swap(1, at_once)
    assert live_versions(versions) == [1]
    with closing(versions.open(1)) as model:
        model.write(Batch([user_event(1)], {}))


def test_a_swap_that_was_frozen_for_too_long_changes_nothing(
    versions: ElasticsearchVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock was released and writes continued before it resumes."""
    number = ready_version(versions)

    def frozen() -> None:
        monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", -1.0)
        with closing(versions.open(1)) as model:
            model.write(Batch([user_event(1)], {}))

    with pytest.raises(Unavailable) as unavailable:
        versions.swap(number, frozen)
    assert unavailable.value.code == "swap_interrupted"
    assert live_versions(versions) == [1]
    with closing(versions.open(1)) as model:
        model.write(Batch([user_event(2)], {}))


def test_a_write_block_that_someone_else_set_stays(
    settings: Settings, versions: ElasticsearchVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a lock that names its holder may be released."""
    monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", -1.0)
    client, index = versions._client, users_index(settings, 1)
    client.indices.add_block(index=index, block="write")
    with closing(versions.open(1)) as model:
        for _ in range(2):
            with pytest.raises(WritesPaused):
                model.write(Batch([user_event(1)], {}))
