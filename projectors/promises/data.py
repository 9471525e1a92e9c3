"""What every read model promises of its rows and its checkpoint."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from projectors.contract.read_model import Advance, Batch, Position
from projectors.promises.events import erasure, user_event
from projectors.promises.trial import Copy, Trial, error_name, promise, retry_while_unavailable
from schemas.errors import Fenced, Poisoned
from schemas.records import UserEvent

SECRET = "qsecretq"


def unstorable(number: int) -> UserEvent:
    """Return an event whose texts all hold a lone surrogate, which UTF-8 cannot encode."""
    text = f"{SECRET}\ud800@{SECRET}\ud800.example"
    event = user_event(number, email=text, email_key=text, name=text, created_by=text)
    return {**event, "command_id": text}


# Its rows.


@promise
def the_rows_are_those_of_the_log(trial: Trial) -> None:
    live = trial.live()
    live.check()
    live.write(user_event(1), user_event(2, name="Zoë Ωmega", age=0), user_event(3))
    live.write(user_event(1, 2, email="other@example.org", email_key="other@example.org"))
    live.write(user_event(4), partition=1)
    live.write(user_event(2, 2, gone=True), erasure(3, 2))
    live.check()


@promise
def several_events_of_a_user_in_one_batch_are_applied_in_order(trial: Trial) -> None:
    live = trial.live()
    live.write(user_event(1), user_event(2), user_event(1, 2, age=77), user_event(2, 2, gone=True))
    live.write(user_event(3), user_event(3, 2), erasure(3, 3))
    live.check()


@promise
def thousands_of_rows_are_all_returned(trial: Trial) -> None:
    """More than fit into one page or one request."""
    live = trial.live()
    live.write(*(user_event(number) for number in range(6_000)))
    live.write(*(user_event(number, 2, gone=number % 3 == 0) for number in range(0, 6_000, 2)))
    live.check()


@promise
def a_row_begins_with_its_user_id_and_is_hashable(trial: Trial) -> None:
    model = trial.live().model
    for event in (user_event(1), user_event(1, 2, gone=True), erasure(1, 3)):
        row = model.row_of(event)
        assert row[0] == event["user_id"]
        assert hash(row) == hash(model.row_of(event))


@promise
def an_event_applied_again_changes_nothing(trial: Trial) -> None:
    live = trial.live()
    events = [user_event(1), user_event(2), user_event(1, 2, age=77)]
    live.write(*events[:2])
    live.write(*events[1:])
    live.write(*reversed(events))
    live.check()


@promise
def an_older_event_changes_nothing(trial: Trial) -> None:
    """Another event of the same version changes nothing either."""
    live = trial.live()
    live.write(user_event(1, 5, name="New"))
    live.write(user_event(1, 5, name="Other", age=1))
    live.write(user_event(1, 4, name="Old", age=1))
    live.check()


@promise
def a_deleted_user_stays_deleted_when_older_events_arrive_late(trial: Trial) -> None:
    live = trial.live()
    live.write(user_event(1), user_event(2))
    live.write(user_event(1, 3, gone=True), erasure(2, 3), erasure(3, 3))
    for number in (1, 2, 3):
        live.write(user_event(number, 2, name="Late"))
        live.write(user_event(number, 1))
    live.check()


@promise
def a_removed_event_leaves_no_row(trial: Trial) -> None:
    """In models whose source is every event; others receive no removals."""
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
    """As when a dead letter is retried; older events change nothing here either."""
    live = trial.live()
    live.write(user_event(1, 2))
    for _ in range(2):
        live.write(user_event(2), user_event(1), erasure(3, 4), steps=False)
        live.write(steps=False)
        live.check()


@promise
def a_checkpoint_records_when_it_was_reached(trial: Trial) -> None:
    live = trial.live()
    before = time.time_ns() // 1_000_000
    live.write(user_event(1))
    at = live.model.checkpoint()[0].applied_at
    assert at is not None
    assert abs(at - before) < 60_000


@promise
def a_batch_from_another_checkpoint_is_fenced_and_changes_nothing(trial: Trial) -> None:
    """If the stored checkpoint differs in any one partition of the batch."""
    live = trial.live()
    first = live.write(user_event(1))
    live.write(user_event(1, 2), partition=1)
    live.write(user_event(3))
    zombie = trial.reopen(live)
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
def exactly_one_of_several_processes_advances_the_checkpoint(trial: Trial) -> None:
    live = trial.live()
    models = [trial.reopen(live) for _ in range(3)]
    with ThreadPoolExecutor(len(models)) as processes:
        for version in range(1, 6):
            batch = Batch([user_event(1, version)], live.step())
            calls = [
                processes.submit(retry_while_unavailable, model.write, batch) for model in models
            ]
            assert sorted(map(error_name, calls)) == ["", "Fenced", "Fenced"]
            live.positions |= {0: batch.advances[0].after}
    live.write(*(user_event(1, version) for version in range(1, 6)))
    live.check()


@promise
def processes_write_their_partitions_concurrently(trial: Trial) -> None:
    """Even if they write the same users, as no log does, nothing is lost."""
    live = trial.live()
    users = [user_event(number) for number in range(200)]

    def project(partition: int) -> None:
        copy = Copy(trial.reopen(live))
        for start in range(0, 200, 20):
            events = users[start : start + 20][:: -1 if partition % 2 else 1]
            retry_while_unavailable(copy.write, *events, partition=partition)
        live.positions |= copy.positions

    with ThreadPoolExecutor(4) as processes:
        list(processes.map(project, range(4)))
    live.write(*users)
    live.check()


@promise
def an_event_that_cannot_be_stored_is_poisoned_without_quoting_it(trial: Trial) -> None:
    """The checkpoint stays before it, and the rest of the batch can be applied."""
    live = trial.live()
    live.write(user_event(1))
    with pytest.raises(Poisoned) as poisoned:
        live.model.write(Batch([user_event(2), unstorable(3)], live.step()))
    assert SECRET not in str(poisoned.value)
    assert "2" not in poisoned.value.code
    assert live.model.checkpoint() == live.positions
    live.write(user_event(2))
    live.check()
