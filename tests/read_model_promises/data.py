"""What a version holds, and where it stands."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from projectors.contract.read_model import Advance, Batch, Position
from schemas.errors import Fenced, Poisoned
from schemas.records import USER_ERASED, UserEvent
from tests.read_model_promises.trial import Copy, Promise, Trial, insist, outcome
from tests.read_models import user_event

SECRET = "qsecretq"
PROMISES: list[Promise] = []


def promise(check: Promise) -> Promise:
    """Put a check on the list."""
    PROMISES.append(check)
    return check


def erased(number: int, version: int) -> UserEvent:
    """Return the marker of an erasure."""
    return {**user_event(number, version, gone=True), "type": USER_ERASED}


def unstorable(number: int) -> UserEvent:
    """Return an event whose every text holds a lone surrogate, which no UTF-8 has."""
    text = f"{SECRET}\ud800@{SECRET}\ud800.example"
    event = user_event(number, email=text, email_key=text, name=text, created_by=text)
    return {**event, "command_id": text}


# What it holds.


@promise
def the_rows_are_those_of_the_log(trial: Trial) -> None:
    live = trial.live()
    live.check()
    live.write(user_event(1), user_event(2, name="Zoë Ωmega", age=0), user_event(3))
    live.write(user_event(1, 2, email="other@example.org", email_key="other@example.org"))
    live.write(user_event(4), partition=1)
    live.write(user_event(2, 2, gone=True), erased(3, 2))
    live.check()


@promise
def several_events_of_a_user_in_a_batch_are_one_after_another(trial: Trial) -> None:
    live = trial.live()
    live.write(user_event(1), user_event(2), user_event(1, 2, age=77), user_event(2, 2, gone=True))
    live.write(user_event(3), user_event(3, 2), erased(3, 3))
    live.check()


@promise
def rows_of_many_users_are_all_there(trial: Trial) -> None:
    """More than fit into a page or a request."""
    live = trial.live()
    live.write(*(user_event(number) for number in range(6_000)))
    live.write(*(user_event(number, 2, gone=number % 3 == 0) for number in range(0, 6_000, 2)))
    live.check()


@promise
def a_row_begins_with_its_user_and_can_be_counted(trial: Trial) -> None:
    model = trial.live().model
    for event in (user_event(1), user_event(1, 2, gone=True), erased(1, 3)):
        row = model.row_of(event)
        assert row[0] == event["user_id"]
        assert hash(row) == hash(model.row_of(event))


@promise
def an_event_that_was_applied_changes_nothing_whenever_it_comes_again(trial: Trial) -> None:
    live = trial.live()
    events = [user_event(1), user_event(2), user_event(1, 2, age=77)]
    live.write(*events[:2])
    live.write(*events[1:])
    live.write(*reversed(events))
    live.check()


@promise
def an_older_event_changes_nothing(trial: Trial) -> None:
    """Nor does another event of the version that is held."""
    live = trial.live()
    live.write(user_event(1, 5, name="New"))
    live.write(user_event(1, 5, name="Other", age=1))
    live.write(user_event(1, 4, name="Old", age=1))
    live.check()


@promise
def a_user_that_is_gone_stays_gone_whatever_comes_late(trial: Trial) -> None:
    live = trial.live()
    live.write(user_event(1), user_event(2))
    live.write(user_event(1, 3, gone=True), erased(2, 3), erased(3, 3))
    for number in (1, 2, 3):
        live.write(user_event(number, 2, name="Late"))
        live.write(user_event(number, 1))
    live.check()


@promise
def what_is_removed_is_gone(trial: Trial) -> None:
    """In the models that are given every event; another is given none to remove."""
    live = trial.live()
    live.write(user_event(1), user_event(1, 2), user_event(2))
    if live.model.source.every_event:
        live.remove(user_event(1))
        live.remove(user_event(1))
        live.remove(user_event(9))
    live.check()


# Its checkpoint.


@promise
def a_step_without_events_moves_the_checkpoint(trial: Trial) -> None:
    live = trial.live()
    live.write()
    live.write(partition=1)
    live.write()
    live.check()


@promise
def events_without_a_step_leave_the_checkpoint_where_it_is(trial: Trial) -> None:
    """As a dead letter has that is tried again; what is older changes nothing here either."""
    live = trial.live()
    live.write(user_event(1, 2))
    for _ in range(2):
        live.write(user_event(2), user_event(1), erased(3, 4), steps=False)
        live.write(steps=False)
        live.check()


@promise
def a_checkpoint_says_when_it_was_reached(trial: Trial) -> None:
    live = trial.live()
    before = time.time_ns() // 1_000_000
    live.write(user_event(1))
    at = live.model.checkpoint()[0].applied_at
    assert at is not None
    assert abs(at - before) < 60_000


@promise
def a_batch_from_elsewhere_is_fenced_and_changes_nothing(trial: Trial) -> None:
    """Whoever is not where the checkpoint is, in any one of its partitions."""
    live = trial.live()
    first = live.write(user_event(1))
    live.write(user_event(1, 2), partition=1)
    live.write(user_event(3))
    zombie = trial.again(live)
    there = live.positions[0]
    good = live.step(1)
    for before in (
        None,
        first.advances[0].after,
        Position("other", there.next_offset, there.last_seq),
        Position("topic", there.next_offset + 1, there.last_seq),
        Position("topic", there.next_offset, there.last_seq + 1),
    ):
        wrong = {0: Advance(before, Position("topic", 99, 99))}
        for model in (zombie, live.model):
            with pytest.raises(Fenced):
                model.write(Batch([user_event(8)], wrong))
            with pytest.raises(Fenced):
                model.write(Batch([user_event(9)], wrong | good))
    with pytest.raises(Fenced):
        zombie.write(first)
    live.write(user_event(4))
    live.check()


@promise
def of_several_processes_one_takes_a_step(trial: Trial) -> None:
    live = trial.live()
    models = [trial.again(live) for _ in range(3)]
    with ThreadPoolExecutor(len(models)) as processes:
        for version in range(1, 6):
            batch = Batch([user_event(1, version)], live.step())
            tried = [processes.submit(insist, model.write, batch) for model in models]
            assert sorted(map(outcome, tried)) == ["", "Fenced", "Fenced"]
            live.positions |= {0: batch.advances[0].after}
    live.write(*(user_event(1, version) for version in range(1, 6)))
    live.check()


@promise
def processes_write_their_partitions_side_by_side(trial: Trial) -> None:
    """The same users even, as no log has them: no deadlock, nothing lost."""
    live = trial.live()
    users = [user_event(number) for number in range(200)]

    def project(partition: int) -> None:
        copy = Copy(trial.again(live))
        for start in range(0, 200, 20):
            events = users[start : start + 20][:: -1 if partition % 2 else 1]
            insist(copy.write, *events, partition=partition)
        live.positions |= copy.positions

    with ThreadPoolExecutor(4) as processes:
        list(processes.map(project, range(4)))
    live.write(*users)
    live.check()


@promise
def what_cannot_be_stored_is_poisoned_without_a_word_of_it(trial: Trial) -> None:
    """The checkpoint stays before it, and what else was in the batch can be applied."""
    live = trial.live()
    live.write(user_event(1))
    with pytest.raises(Poisoned) as poisoned:
        live.model.write(Batch([user_event(2), unstorable(3)], live.step()))
    assert SECRET not in str(poisoned.value)
    assert "2" not in poisoned.value.code
    assert live.model.checkpoint() == live.positions
    live.write(user_event(2))
    live.check()
