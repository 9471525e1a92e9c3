"""If a store refuses a batch, each refused record is isolated in a logarithmic number of tries."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projectors.engine.applier import TooManyPoisoned
from projectors.log.records import Record
from tests.depth import depth
from tests.unit.projectors.engine.test_applier import Trial, broken, good

BATCH = depth(1_000, 10_000)
LOG2 = BATCH.bit_length()  # halvings that isolate one record of a batch
HALF, LAST = BATCH // 2, BATCH - 1


class Counted(Trial):
    """A trial that counts all writes, also refused ones."""

    def __init__(self, most: int = 100) -> None:
        super().__init__(most)
        self.tries = 0
        self.model.before_write = self._count

    def _count(self) -> None:
        self.tries += 1


def records(poisoned: Sequence[int], count: int = BATCH) -> list[Record]:
    refused = set(poisoned)
    return [good(offset, name="Poison" if offset in refused else "Jane") for offset in range(count)]


def applied(poisoned: Sequence[int], count: int = BATCH) -> Counted:
    trial = Counted()
    trial.applier.apply(records(poisoned, count))
    trial.applier.flush()
    return trial


def test_a_batch_without_poison_takes_one_write() -> None:
    assert applied([]).tries == 1


@pytest.mark.parametrize(
    "poisoned",
    [
        *([offset] for offset in (0, 1, HALF - 1, HALF, LAST - 1, LAST)),
        [0, LAST],
        [HALF - 1, HALF],
        [0, 1, 2, LAST - 2, LAST - 1, LAST],
        list(range(7, BATCH, BATCH // 10)),
        list(range(HALF // 2, HALF // 2 + 100)),
        list(range(0, 200, 2)),
    ],
)
def test_each_refused_record_of_many_takes_logarithmic_writes(poisoned: list[int]) -> None:
    """Whether alone, spread, at the ends, adjacent, or as many in a row as allowed."""
    trial = applied(poisoned)
    assert sorted(trial.letters) == poisoned
    assert len(trial.letters) == len(set(trial.letters))
    assert (trial.user_count(), trial.next_offset()) == (BATCH - len(poisoned), BATCH)
    assert trial.tries <= len(poisoned) * (2 * LOG2 + 3)


def test_one_poisoned_record_too_many_stops_before_the_row() -> None:
    """No record of the row is passed; the records before it are applied."""
    trial = Counted()
    with pytest.raises(TooManyPoisoned, match="offset 300 "):
        trial.applier.apply(records(range(300, 401)))
    assert trial.next_offset() == 300
    assert trial.user_count() == 300
    assert trial.tries <= 101 * (2 * LOG2 + 3)


def test_a_store_that_refuses_everything_is_noticed_early() -> None:
    """After the allowed number of records, not after the whole batch."""
    trial = Counted()
    with pytest.raises(TooManyPoisoned, match="offset 0 "):
        trial.applier.apply(records(range(BATCH)))
    assert (trial.next_offset(), trial.user_count()) == (0, 0)
    assert trial.tries <= 101 * (2 + 1) + LOG2


@given(
    count=st.integers(1, 60),
    kinds=st.lists(st.sampled_from(["good", "good", "refused", "broken"]), min_size=60),
    cut=st.integers(0, 60),
)
def test_every_poisoned_record_has_one_letter_and_every_other_is_applied(
    count: int, kinds: list[str], cut: int
) -> None:
    """Undecodable and refused records mixed, in two batches and two partitions."""
    trial = Trial()
    batch = []
    for number, kind in enumerate(kinds[:count]):
        offset, partition = divmod(number, 2)
        if kind == "broken":
            batch.append(broken(offset, partition))
        else:
            record = good(number, partition, name="Poison" if kind == "refused" else "Jane")
            batch.append(Record(partition, offset, record.event))
    trial.applier.apply(batch[:cut])
    trial.applier.apply(batch[cut:])
    trial.applier.flush()
    poisoned = [record.offset for record, kind in zip(batch, kinds, strict=False) if kind != "good"]
    assert sorted(trial.letters) == sorted(poisoned)
    assert trial.user_count() == count - len(poisoned)
    ends = [sum(record.partition == partition for record in batch) for partition in (0, 1)]
    assert [trial.next_offset(0), trial.next_offset(1)] == ends
