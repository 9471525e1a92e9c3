"""What every read model promises of its versions."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from projectors.contract.read_model import BUILDING, READY, Batch, Dropped
from projectors.promises.events import user_event
from projectors.promises.trial import Trial, promise, retry_while_unavailable
from schemas.errors import Fenced, NotInTime, Rejected


@promise
def several_processes_begin_and_create_one_version(trial: Trial) -> None:
    assert trial.versions.versions() == []
    others = [trial.open_versions() for _ in range(4)]
    with ThreadPoolExecutor(4) as processes:
        for begun in [processes.submit(retry_while_unavailable, other.begin) for other in others]:
            begun.result()
    [version] = trial.versions.versions()
    assert (version.state, version.live) == (READY, True)
    assert version.live_since is not None
    trial.versions.begin()
    assert trial.versions.versions() == [version]


@promise
def a_version_opened_in_one_thread_can_be_used_in_another(trial: Trial) -> None:
    """A projector opens versions in one thread and runs each in another."""
    live = trial.live()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(live.write, user_event(1)).result()
        thread.submit(live.check).result()
    live.check()


@promise
def another_process_reads_what_was_written(trial: Trial) -> None:
    live = trial.live()
    live.write(user_event(1))
    live.model = trial.reopen(live)
    live.check()


@promise
def a_new_version_is_empty_and_the_live_one_stays_writable(trial: Trial) -> None:
    live = trial.live()
    live.write(user_event(1))
    number = trial.versions.create()
    found = trial.found_versions()
    assert [*found] == [live.model.version, number]
    new = found[number]
    assert (new.state, new.live, new.live_since) == (BUILDING, False, None)
    assert trial.live_number() == live.model.version
    building = trial.open(number)
    building.check()
    building.write(user_event(2), user_event(3, 2, gone=True))
    live.write(user_event(1, 2))
    live.check()


@promise
def finishing_and_accepting_a_version_keeps_its_rows(trial: Trial) -> None:
    """Both are idempotent; a model opened before either stays correct or is fenced."""
    live = trial.live()
    number = trial.versions.create()
    built = trial.open(number)
    built.write(*(user_event(n) for n in range(100)), user_event(7, 2, gone=True))
    built.write(user_event(1, 2), user_event(200, partition=1))
    trial.versions.finish(number)
    before, built.model = built.model, trial.reopen(built)
    built.check()
    with suppress(Fenced):
        before.write(Batch([user_event(300)], {}))
        built.write(user_event(300))
    built.write(user_event(2, 2), user_event(3, 2, gone=True))
    trial.versions.finish(number)
    for _ in range(2):
        trial.versions.accept(number)
    found = trial.found_versions()[number]
    assert (found.state, found.live) == (READY, False)
    built.model = trial.reopen(built)
    built.check()
    live.check()


@promise
def only_a_ready_version_goes_live(trial: Trial) -> None:
    live = trial.live()
    for number in (trial.versions.create(), 99):
        with pytest.raises(Rejected) as refused:
            trial.versions.swap(number, lambda: None)
        assert refused.value.code == "version_not_ready"
    assert trial.live_number() == live.model.version
    live.write(user_event(1))


@promise
def a_swap_and_a_rollback_change_what_is_live_and_nothing_else(trial: Trial) -> None:
    live, other = trial.live(), trial.build_ready()
    live.write(user_event(1))
    other.write(user_event(1))
    asked: list[int] = []
    for new, old in ((other, live), (live, other)):
        number = new.model.version
        trial.versions.swap(number, lambda: asked.append(trial.live_number()))
        assert asked.pop() == old.model.version
        assert asked == []
        found = trial.found_versions()
        assert [n for n, version in found.items() if version.live] == [number]
        assert all(version.state == READY for version in found.values())
        assert found[number].live_since is not None
        assert found[number].live_since == max(v.live_since or 0 for v in found.values())
        trial.versions.swap(number, lambda: pytest.fail("it is live already"))
        for copy in (live, other):
            copy.write(user_event(10 + number))
            copy.check()


@promise
def while_a_swap_waits_writes_to_the_live_version_block(trial: Trial) -> None:
    """Queries continue; the blocked writer continues afterwards and has lost nothing."""
    live, other = trial.live(), trial.build_ready()
    live.write(user_event(1))
    live.check()
    before, reader = dict(live.positions), trial.reopen(live)
    landed = threading.Event()

    def write() -> None:
        retry_while_unavailable(live.write, user_event(2))
        landed.set()

    def await_caught_up() -> None:
        writing.append(writer.submit(write))
        other.write(user_event(1))
        other.check()
        assert sum(len(rows) for rows in reader.rows()) == 1
        assert not landed.wait(0.3)
        assert reader.checkpoint() == before
        assert trial.found_versions()[live.model.version].live

    writing: list[Future[None]] = []
    with ThreadPoolExecutor(1) as writer:
        trial.versions.swap(other.model.version, await_caught_up)
        assert trial.live_number() == other.model.version
        writing[0].result(60)
    live.check()
    other.write(user_event(2))
    other.check()


@promise
def a_swap_that_fails_changes_nothing(trial: Trial) -> None:
    """The writers it blocked continue soon."""
    live, other = trial.live(), trial.build_ready()

    def await_caught_up() -> None:
        raise NotInTime("it is behind")

    with pytest.raises(NotInTime):
        trial.versions.swap(other.model.version, await_caught_up)
    assert trial.live_number() == live.model.version
    assert trial.found_versions()[other.model.version].live_since is None
    retry_while_unavailable(live.write, user_event(1))
    retry_while_unavailable(other.write, user_event(1))
    live.check()
    other.check()
    trial.versions.swap(other.model.version, lambda: None)
    assert trial.live_number() == other.model.version


@promise
def two_concurrent_swaps_both_complete(trial: Trial) -> None:
    """At each moment exactly one version is live, and all stay writable."""
    copies = [trial.live(), trial.build_ready(), trial.build_ready()]
    with ThreadPoolExecutor(2) as processes:
        swaps = [
            processes.submit(
                retry_while_unavailable,
                trial.open_versions().swap,
                copy.model.version,
                trial.live_number,
            )
            for copy in copies[1:]
        ]
        for swap in swaps:
            swap.result(60)
    assert trial.live_number() in {copy.model.version for copy in copies[1:]}
    for copy in copies:
        retry_while_unavailable(copy.write, user_event(1))
        copy.check()


@promise
def the_live_version_cannot_be_dropped(trial: Trial) -> None:
    live = trial.live()
    live.write(user_event(1))
    with pytest.raises(Rejected) as refused:
        trial.versions.drop(live.model.version)
    assert refused.value.code == "version_is_live"
    live.write(user_event(2))
    live.check()


@promise
def using_a_dropped_version_raises_dropped(trial: Trial) -> None:
    """Whether it was opened before or after: to write, to retry, to read, or to accept it."""
    live, other = trial.live(), trial.build_ready()
    live.write(user_event(1))
    other.write(user_event(1))
    trial.open_versions().drop(other.model.version)
    assert [*trial.found_versions()] == [live.model.version]
    for model in (other.model, trial.reopen(other)):
        with pytest.raises(Dropped):
            model.checkpoint()
        with pytest.raises(Dropped):
            model.write(Batch([user_event(2)], other.step()))
        with pytest.raises(Dropped):
            model.write(Batch([user_event(3)], {}))
        with pytest.raises(Dropped):
            list(model.rows())
    with pytest.raises(Dropped):
        trial.versions.accept(other.model.version)
    live.write(user_event(2))
    live.check()


@promise
def dropping_is_idempotent_and_no_number_is_reused(trial: Trial) -> None:
    trial.live()
    given = []
    for _ in range(3):
        given.append(trial.versions.create())
        for _ in range(2):
            trial.versions.drop(given[-1])
    trial.versions.drop(99)
    assert given == sorted({*given})
    assert trial.versions.create() > given[-1]
    assert len(trial.versions.versions()) == 2


@promise
def a_version_can_be_dropped_in_any_state(trial: Trial) -> None:
    """Previously live, or being built."""
    live, other = trial.live(), trial.build_ready()
    trial.versions.swap(other.model.version, lambda: None)
    for number in (live.model.version, trial.versions.create()):
        trial.versions.drop(number)
    assert [*trial.found_versions()] == [other.model.version]
    other.write(user_event(1))
    other.check()
