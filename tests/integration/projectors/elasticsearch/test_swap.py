"""Swaps of the Elasticsearch read model's versions while others read, write, die and freeze.

What stays of a swap that is killed is waited for less here than a projector would.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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
from tests.integration.projectors.elasticsearch.elasticsearch_versions import (
    at_once,
    begun,
    built,
    live,
)
from tests.processes import eventually

FIRST = Position("topic-1", 10, 5)
USERS_THERE = 300
AHEAD = 3  # events of every user that a slow version is behind


@pytest.fixture
def versions(settings: Settings) -> Iterator[ElasticsearchVersions]:
    """The read model with its first version, removed with the test."""
    with begun(settings) as found:
        yield found


def seen(settings: Settings) -> dict[str, int]:
    """Return user id → version, as a search sees them now."""
    with closing(connect(settings)) as client:
        alias = settings.named(USERS_ALIAS)
        hits = client.search(index=alias, size=1000, source={"includes": ["version"]})["hits"][
            "hits"
        ]
    return {hit["_id"]: hit["_source"]["version"] for hit in hits}


class Log:
    """Events in order: one thread appends, others apply them to a version each."""

    def __init__(self) -> None:
        self.events = [user_event(number) for number in range(USERS_THERE)]
        self.ended = threading.Event()
        self.applied = {1: 0, 2: 0}

    def append(self) -> None:
        """Go on adding one more event of every user, a few ahead of who is slowest."""
        while not self.ended.wait(0.01):
            if len(self.events) - min(self.applied.values()) < AHEAD * USERS_THERE:
                version = len(self.events) // USERS_THERE + 1
                self.events += [user_event(number, version) for number in range(USERS_THERE)]

    def keep(self, model: ElasticsearchUsers, most: int) -> None:
        """Apply the log to a version until both have ended, `most` events a batch."""
        done = 0
        while not (self.ended.is_set() and done == len(self.events)):
            end = min(done + most, len(self.events))
            batch = {event["user_id"]: event for event in self.events[done:end]}
            try:
                model.write(Batch(list(batch.values()), {}))
                model.make_visible()
            except Dropped:
                return
            except Unavailable:  # held
                continue
            done = self.applied[model.version] = end

    def await_applied_by(self, number: int) -> Callable[[], None]:
        """Return what waits until a version has applied all that there is when it is called."""

        def wait() -> None:
            end = len(self.events)
            eventually(lambda: self.applied[number] >= end, what=f"version {number} at {end}")

        return wait


def read_until(ended: threading.Event, settings: Settings) -> int:
    """Search all users again and again; fail if one is missing or goes back. Return how often."""
    before, times = seen(settings), 0
    while not ended.is_set():
        now = seen(settings)
        assert len(now) == USERS_THERE
        back = {user_id for user_id, version in now.items() if version < before[user_id]}
        assert not back
        before, times = now, times + 1
    return times


def test_a_reader_never_sees_anything_go_back(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """There, back and there again, then a drop, while two writers go on, the one far behind."""
    log = Log()
    with closing(versions.open(1)) as model:
        model.write(Batch(log.events, {}))
        model.make_visible()
    assert built(versions, *log.events) == 2
    models = [versions.open(1), versions.open(2)]
    read = threading.Event()
    with ThreadPoolExecutor(4) as together:
        try:
            reader = together.submit(read_until, read, settings)
            # The one takes all there is at once, the other needs many requests for it.
            kept = [
                together.submit(log.keep, model, most)
                for model, most in zip(models, (AHEAD * USERS_THERE, 50), strict=True)
            ]
            kept.append(together.submit(log.append))
            for number in (2, 1, 2, 1, 2):
                versions.swap(number, log.await_applied_by(number))
                assert live(versions) == [number]
            versions.drop(1)
            log.await_applied_by(2)()
        finally:
            log.ended.set()
            read.set()
        assert reader.result() > 10
        for each in kept:
            each.result()
    assert set(seen(settings).values()) == {len(log.events) // USERS_THERE}
    assert [version.number for version in versions.versions()] == [2]
    for model in models:
        model.close()


def test_what_the_wait_raises_changes_nothing(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """The old version goes on at once."""
    number = built(versions)

    def fail() -> None:
        with closing(versions.open(1)) as model, pytest.raises(WritesPaused):
            model.write(Batch([user_event(1)], {}))
        raise Unavailable("the log is away")

    with pytest.raises(Unavailable, match="the log is away"):
        versions.swap(number, fail)
    with closing(versions.open(1)) as model:
        model.write(Batch([user_event(1)], {}))
        model.make_visible()
    assert live(versions) == [1]
    assert list(seen(settings)) == [user_event(1)["user_id"]]


SWAP_AND_HANG = """
import sys, time
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from runtime.settings import load_settings
flags = {"prefix": sys.argv[2], "partitions": "4"}
versions = ElasticsearchVersions(load_settings(flags, config=sys.argv[1]).settings)
def hang():
    print("held", flush=True)
    time.sleep(600)
versions.swap(int(sys.argv[3]), hang)
"""


@pytest.fixture
def killed_swap(settings: Settings, stack: Any, versions: ElasticsearchVersions) -> int:
    """Return a version that was to go live when the process that swapped was killed."""
    number = built(versions)
    arguments = [str(stack.config_file), settings.prefix, str(number)]
    process = subprocess.Popen(
        [sys.executable, "-c", SWAP_AND_HANG, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    process.stdout.close()
    return number


def test_a_hold_of_a_process_that_was_killed_is_lifted_by_the_writer(
    versions: ElasticsearchVersions, killed_swap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost meanwhile, and the swap can be run again."""
    with closing(versions.open(1)) as model:
        batch = Batch([user_event(1)], {0: Advance(None, FIRST)})
        with pytest.raises(WritesPaused):
            model.write(batch)
        assert live(versions) == [1]
        assert model.checkpoint() == {}
        monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", 0.5)

        def lands() -> bool:
            try:
                model.write(batch)
            except WritesPaused:
                return False
            return True

        eventually(lands)
        assert model.checkpoint() == {0: FIRST}
    versions.swap(killed_swap, at_once)
    assert live(versions) == [killed_swap]


def test_a_swap_takes_over_from_one_that_was_killed(
    versions: ElasticsearchVersions, killed_swap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No projector needs to run for it."""
    monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", 0.5)
    versions.swap(killed_swap, at_once)
    assert live(versions) == [killed_swap]
    with closing(versions.open(1)) as model:
        model.write(Batch([user_event(1)], {}))


def test_a_swap_back_follows_one_that_was_killed_at_its_end(
    settings: Settings, versions: ElasticsearchVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that was live before is held still, and an idle log has nobody notice."""
    number = built(versions)
    versions.swap(number, at_once)
    WriteLock(versions._client, users_index(settings, 1)).acquire()
    monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", 0.5)
    versions.swap(1, at_once)
    assert live(versions) == [1]
    with closing(versions.open(1)) as model:
        model.write(Batch([user_event(1)], {}))


def test_a_swap_that_was_stopped_for_too_long_changes_nothing(
    versions: ElasticsearchVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process is frozen, its hold lifted, writes go on; then it continues."""
    number = built(versions)

    def frozen() -> None:
        monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", -1.0)
        with closing(versions.open(1)) as model:
            model.write(Batch([user_event(1)], {}))

    with pytest.raises(Unavailable) as unavailable:
        versions.swap(number, frozen)
    assert unavailable.value.code == "swap_interrupted"
    assert live(versions) == [1]
    with closing(versions.open(1)) as model:
        model.write(Batch([user_event(2)], {}))


def test_a_block_that_somebody_else_set_stays(
    settings: Settings, versions: ElasticsearchVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a hold that says whose it is may be lifted."""
    monkeypatch.setattr(write_lock, "EXPIRES_AFTER_SECONDS", -1.0)
    client, index = versions._client, users_index(settings, 1)
    client.indices.add_block(index=index, block="write")
    with closing(versions.open(1)) as model:
        for _ in range(2):
            with pytest.raises(WritesPaused):
                model.write(Batch([user_event(1)], {}))


@pytest.mark.parametrize("numbers", [(2, 2, 2), (2, 3, 2)])
def test_several_swaps_at_once_leave_one_version_live(
    settings: Settings, versions: ElasticsearchVersions, numbers: tuple[int, ...]
) -> None:
    """They come one after the other."""
    for _ in range(2):
        built(versions)

    def swap(number: int) -> None:
        with closing(ElasticsearchVersions(settings)) as own:
            own.swap(number, at_once)

    with ThreadPoolExecutor(3) as together:
        list(together.map(swap, numbers))
    assert len(live(versions)) == 1
    assert live(versions)[0] in numbers
    with closing(versions.open(1)) as model:
        model.write(Batch([user_event(1)], {}))
