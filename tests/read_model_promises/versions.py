"""What is promised of the versions of a read model."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from projectors.contract.read_model import BUILDING, READY, Batch, Dropped
from schemas.errors import Fenced, NotInTime, Rejected
from tests.read_model_promises.trial import Promise, Trial, insist
from tests.read_models import user_event

PROMISES: list[Promise] = []


def promise(check: Promise) -> Promise:
    """Put a check on the list."""
    PROMISES.append(check)
    return check


@promise
def several_processes_begin_with_one_version(trial: Trial) -> None:
    assert trial.versions.versions() == []
    others = [trial.another() for _ in range(4)]
    with ThreadPoolExecutor(4) as processes:
        for begun in [processes.submit(insist, other.begin) for other in others]:
            begun.result()
    [version] = trial.versions.versions()
    assert (version.state, version.live) == (READY, True)
    assert version.live_since is not None
    trial.versions.begin()
    assert trial.versions.versions() == [version]


@promise
def a_version_is_opened_here_and_used_there(trial: Trial) -> None:
    """A projector opens versions in one thread and runs each in another."""
    live = trial.live()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(live.write, user_event(1)).result()
        thread.submit(live.check).result()
    live.check()


@promise
def another_process_sees_what_was_written(trial: Trial) -> None:
    live = trial.live()
    live.write(user_event(1))
    live.model = trial.again(live)
    live.check()


@promise
def a_new_version_is_empty_and_the_live_one_goes_on(trial: Trial) -> None:
    live = trial.live()
    live.write(user_event(1))
    number = trial.versions.create()
    found = trial.found()
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
def a_version_is_finished_and_accepted_and_holds_what_it_held(trial: Trial) -> None:
    """Either again is nothing; who had it open before goes on rightly, or is fenced."""
    live = trial.live()
    number = trial.versions.create()
    built = trial.open(number)
    built.write(*(user_event(n) for n in range(100)), user_event(7, 2, gone=True))
    built.write(user_event(1, 2), user_event(200, partition=1))
    trial.versions.finish(number)
    before, built.model = built.model, trial.again(built)
    built.check()
    with suppress(Fenced):
        before.write(Batch([user_event(300)], {}))
        built.write(user_event(300))
    built.write(user_event(2, 2), user_event(3, 2, gone=True))
    trial.versions.finish(number)
    for _ in range(2):
        trial.versions.accept(number)
    assert (trial.found()[number].state, trial.found()[number].live) == (READY, False)
    built.model = trial.again(built)
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
    live, other = trial.live(), trial.ready()
    live.write(user_event(1))
    other.write(user_event(1))
    asked: list[int] = []
    for new, old in ((other, live), (live, other)):
        number = new.model.version
        trial.versions.swap(number, lambda: asked.append(trial.live_number()))
        assert asked.pop() == old.model.version
        assert asked == []
        found = trial.found()
        assert [n for n, version in found.items() if version.live] == [number]
        assert all(version.state == READY for version in found.values())
        assert found[number].live_since is not None
        assert found[number].live_since == max(v.live_since or 0 for v in found.values())
        trial.versions.swap(number, lambda: pytest.fail("it is live already"))
        for copy in (live, other):
            copy.write(user_event(10 + number))
            copy.check()


@promise
def while_a_swap_waits_the_live_version_is_held_and_the_other_catches_up(trial: Trial) -> None:
    """Queries go on meanwhile; the writer that was held goes on after, having lost nothing."""
    live, other = trial.live(), trial.ready()
    live.write(user_event(1))
    live.check()
    before, reader = dict(live.positions), trial.again(live)
    landed = threading.Event()

    def write() -> None:
        insist(live.write, user_event(2))
        landed.set()

    def await_caught_up() -> None:
        writing.append(writer.submit(write))
        other.write(user_event(1))
        other.check()
        assert sum(len(rows) for rows in reader.rows()) == 1
        assert not landed.wait(0.3)
        assert reader.checkpoint() == before
        assert trial.found()[live.model.version].live

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
    """What was held is not for long."""
    live, other = trial.live(), trial.ready()

    def await_caught_up() -> None:
        raise NotInTime("it is behind")

    with pytest.raises(NotInTime):
        trial.versions.swap(other.model.version, await_caught_up)
    assert trial.live_number() == live.model.version
    assert trial.found()[other.model.version].live_since is None
    insist(live.write, user_event(1))
    insist(other.write, user_event(1))
    live.check()
    other.check()
    trial.versions.swap(other.model.version, lambda: None)
    assert trial.live_number() == other.model.version


@promise
def of_two_swaps_each_has_its_moment(trial: Trial) -> None:
    """Whichever is last: one version is live at each moment, and both can be written."""
    copies = [trial.live(), trial.ready(), trial.ready()]
    with ThreadPoolExecutor(2) as processes:
        swaps = [
            processes.submit(insist, trial.another().swap, copy.model.version, trial.live_number)
            for copy in copies[1:]
        ]
        for swap in swaps:
            swap.result(60)
    assert trial.live_number() in {copy.model.version for copy in copies[1:]}
    for copy in copies:
        insist(copy.write, user_event(1))
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
def who_uses_a_version_that_was_dropped_is_told_so(trial: Trial) -> None:
    """Whoever opened it before and whoever does so after; a step, a retry and a question."""
    live, other = trial.live(), trial.ready()
    live.write(user_event(1))
    other.write(user_event(1))
    trial.another().drop(other.model.version)
    assert [*trial.found()] == [live.model.version]
    for model in (other.model, trial.again(other)):
        with pytest.raises(Dropped):
            model.checkpoint()
        with pytest.raises(Dropped):
            model.write(Batch([user_event(2)], other.step()))
        with pytest.raises(Dropped):
            model.write(Batch([user_event(3)], {}))
        with pytest.raises(Dropped):
            list(model.rows())
    live.write(user_event(2))
    live.check()


@promise
def to_drop_is_idempotent_and_no_number_is_given_twice(trial: Trial) -> None:
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
def a_version_is_dropped_whatever_its_state(trial: Trial) -> None:
    """Built, live once, or being built."""
    live, other = trial.live(), trial.ready()
    trial.versions.swap(other.model.version, lambda: None)
    for number in (live.model.version, trial.versions.create()):
        trial.versions.drop(number)
    assert [*trial.found()] == [other.model.version]
    other.write(user_event(1))
    other.check()
