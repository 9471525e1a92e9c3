"""The failure rules: for good records, for poisoned ones, and for those that a store refuses."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from projectors.contract.read_model import Batch, Position, Row
from projectors.contract.source import LATEST_STATE
from projectors.engine.applier import Applier, TooManyPoisoned
from projectors.log.records import Record
from schemas.errors import Fenced, Poisoned, Unavailable
from schemas.records import UserEvent
from tests.samples.events import event_of

POISON = Poisoned("it is broken", code="bad_avro")


def event(user: int, version: int = 1, **fields: Any) -> UserEvent:
    return event_of("jane@example.com", version, number=user, **fields)


def good(offset: int, partition: int = 0, name: str = "Jane") -> Record:
    return Record(partition, offset, event(offset, seq=offset + 1, name=name))


def broken(offset: int, partition: int = 0) -> Record:
    return Record(partition, offset, None, POISON)


class Memory:
    """A read model in memory that refuses every batch that has a user called Poison."""

    name = "memory"
    version = 1
    source = LATEST_STATE

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.positions: dict[int, Position] = {}
        self.writes: list[Batch] = []
        self.before_write: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None

    def checkpoint(self) -> dict[int, Position]:
        return dict(self.positions)

    def write(self, batch: Batch) -> None:
        self.before_write()
        for partition, advance in batch.advances.items():
            if self.positions.get(partition) != advance.before:
                raise Fenced("the checkpoint is elsewhere")
        assert list(batch.packed) in ([], [self.pack_event(one) for one in batch.events])
        for one in batch.events:
            if one["user"] and one["user"]["name"] == "Poison":
                raise Poisoned("refused", code="refused")
        for one in batch.events:
            version = max(one["version"], self.users.get(one["user_id"], 0))
            self.users[one["user_id"]] = version
        self.positions.update({p: advance.after for p, advance in batch.advances.items()})
        self.writes.append(batch)
        self.after_write()

    def pack_event(self, event: UserEvent) -> object:
        return event["event_id"]

    def make_visible(self) -> None:
        """Do nothing: everything is visible."""

    def row_of(self, event: UserEvent) -> Row:
        return event["user_id"], event["version"]

    def rows(self) -> Iterator[Sequence[Row]]:
        yield list(self.users.items())

    def close(self) -> None:
        """Do nothing."""


class Trial:
    """An applier of partitions 0 and 1 of a `Memory`, and the letters it wrote."""

    def __init__(self, most: int = 100) -> None:
        self.model = Memory()
        self.letters: list[int] = []
        self.checkpoint_at_letter: list[int] = []
        self.applier = Applier(
            self.model, self._write_letters, max_poisoned_in_a_row=most, retry=self._retry
        )
        self.applier.begin("topic", {0: None, 1: None})

    def _write_letters(self, records: Sequence[Record]) -> None:
        self.letters += [record.offset for record in records]
        self.checkpoint_at_letter += [self.next_offset() for _ in records]

    def _retry(self, step: Callable[[], None]) -> None:
        for _ in range(5):
            try:
                return step()
            except Unavailable:
                continue
        raise AssertionError

    def next_offset(self, partition: int = 0) -> int:
        position = self.model.positions.get(partition)
        return position.next_offset if position else 0

    def user_count(self) -> int:
        return len(self.model.users)


def test_good_records_are_written_in_one_batch_with_each_partitions_position() -> None:
    trial = Trial()
    trial.applier.apply([good(0), good(1), good(0, partition=1)])
    assert len(trial.model.writes) == 1
    assert trial.model.positions == {0: Position("topic", 2, 2), 1: Position("topic", 1, 1)}


def test_only_the_last_event_of_a_user_is_written() -> None:
    trial = Trial()
    trial.applier.apply([Record(0, o, event(7, version=o + 1, seq=o + 1)) for o in range(3)])
    assert [one["version"] for one in trial.model.writes[0].events] == [3]
    assert trial.next_offset() == 3


def test_the_letter_of_a_poisoned_record_is_written_before_the_checkpoint_passes_it() -> None:
    trial = Trial()
    trial.applier.apply([good(0), broken(1), good(2)])
    assert (trial.letters, trial.checkpoint_at_letter) == ([1], [0])
    assert (trial.next_offset(), trial.user_count()) == (3, 2)


def test_a_poisoned_record_at_the_end_waits_for_a_good_one() -> None:
    trial = Trial()
    trial.applier.apply([good(0), broken(1)])
    assert (trial.letters, trial.next_offset()) == ([], 1)
    trial.applier.apply([good(2)])
    assert (trial.letters, trial.next_offset()) == ([1], 3)


def test_a_poisoned_record_at_the_end_of_an_idle_log_is_dead_lettered_and_passed() -> None:
    trial = Trial()
    trial.applier.apply([good(0), broken(1)])
    trial.applier.flush()
    assert (trial.letters, trial.next_offset()) == ([1], 2)
    assert trial.model.positions[0].last_seq == 1
    trial.applier.flush()
    assert trial.letters == [1]


def test_earlier_events_of_a_user_whose_last_is_refused_are_applied() -> None:
    trial = Trial()
    records = [Record(0, o, event(7, version=o + 1, seq=o + 1)) for o in range(3)]
    records.append(Record(0, 3, event(7, version=4, seq=4, name="Poison")))
    trial.applier.apply(records)
    trial.applier.flush()
    assert trial.model.users == {event(7)["user_id"]: 3}
    assert (trial.letters, trial.next_offset()) == ([3], 4)


def test_too_many_poisoned_in_a_row_stop_the_projector_before_them_without_a_letter() -> None:
    trial = Trial(most=3)
    with pytest.raises(TooManyPoisoned, match="partition 0 offset 1 "):
        trial.applier.apply([good(0), *[broken(o) for o in range(1, 5)], good(5)])
    assert (trial.letters, trial.next_offset(), trial.user_count()) == ([], 1, 1)


def test_as_many_poisoned_in_a_row_as_allowed_are_dead_lettered() -> None:
    trial = Trial(most=3)
    trial.applier.apply([good(0), *[broken(o) for o in range(1, 4)], good(4)])
    assert (trial.letters, trial.next_offset()) == ([1, 2, 3], 5)


def test_poisoned_records_are_counted_across_batches() -> None:
    trial = Trial(most=3)
    trial.applier.apply([good(0), broken(1), broken(2)])
    with pytest.raises(TooManyPoisoned, match="offset 1 "):
        trial.applier.apply([broken(3), broken(4)])
    assert (trial.letters, trial.next_offset()) == ([], 1)


def test_poisoned_records_are_counted_across_idle_times() -> None:
    trial = Trial(most=3)
    for offset in range(3):
        trial.applier.apply([broken(offset)])
        trial.applier.flush()
    with pytest.raises(TooManyPoisoned, match="offset 3 "):
        trial.applier.apply([broken(3)])
    assert (trial.letters, trial.next_offset()) == ([0, 1, 2], 3)


def test_an_unavailable_read_model_gets_the_same_batch_again() -> None:
    trial = Trial()
    answers = iter([Unavailable("away"), Unavailable("away")])

    def fail_twice() -> None:
        for error in answers:
            raise error

    trial.model.before_write = fail_twice
    trial.applier.apply([good(0), good(1)])
    assert (trial.user_count(), trial.next_offset(), len(trial.model.writes)) == (2, 2, 1)


def test_a_write_whose_answer_was_lost_is_not_mistaken_for_another_process() -> None:
    trial = Trial()
    answers = iter([Unavailable("the answer was lost")])

    def lose_the_answer() -> None:
        for error in answers:
            raise error

    trial.model.after_write = lose_the_answer
    trial.applier.apply([good(0)])
    trial.applier.apply([good(1)])
    assert (trial.user_count(), trial.next_offset()) == (2, 2)


def test_another_process_that_moved_the_checkpoint_fences_this_one() -> None:
    trial = Trial()
    trial.applier.apply([good(0)])
    trial.model.positions[0] = Position("topic", 5, 5)
    with pytest.raises(Fenced):
        trial.applier.apply([good(1)])
    assert trial.user_count() == 1


def test_pending_records_of_a_dropped_partition_are_forgotten() -> None:
    trial = Trial()
    trial.applier.apply([good(0), broken(1), broken(0, partition=1)])
    trial.applier.drop([0])
    trial.applier.flush()
    assert trial.letters == [0]
    assert (trial.next_offset(0), trial.next_offset(1)) == (1, 1)
