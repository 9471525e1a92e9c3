"""Which versions of a read model a retry applies a record to, even if they change meanwhile."""

from collections.abc import Callable
from typing import Any

import pytest

from projectors.contract.read_model import Batch, Dropped
from projectors.dead_letters.retry import _Versions
from projectors.log.records import Record
from schemas.errors import Fenced, Poisoned, RollbookError
from tests.unit.projectors.engine.test_applier import event
from tests.unit.projectors.versions.memory_versions import MemoryModel, MemoryVersions


class Given(MemoryModel):
    """A version that records its batches, and raises each of the errors in `raises` once."""

    def __init__(self, version: int, asked: Callable[[], None]) -> None:
        super().__init__(version, asked)
        self.given: list[Batch] = []
        self.raises: list[RollbookError] = []

    def write(self, batch: Batch) -> None:
        if self.raises:
            raise self.raises.pop()
        self.given.append(batch)


class GivenVersions(MemoryVersions):
    """Versions 1 to 3, at offsets 10 and 5 and without a position in partition 0."""

    def __init__(self) -> None:
        super().__init__()
        for number, seqs in enumerate(({0: 10}, {0: 5}, {1: 10}), 1):
            self.models[number] = Given(number, lambda: None)
            self.models[number].seqs = seqs

    def version(self, number: int) -> Any:
        return self.models[number]


def versions(of: GivenVersions) -> _Versions:
    unused: Any = None
    return _Versions(of, unused)


RECORD = Record(0, 7, event(1))


def test_versions_that_have_passed_the_record_receive_it() -> None:
    """The others will read it themselves."""
    of = GivenVersions()
    tried = versions(of)
    assert [model.version for model in tried.passed(0, 4)] == [1, 2]
    assert [model.version for model in tried.passed(0, 5)] == [1]
    assert tried.passed(0, 10) == []
    [model] = tried.passed(0, 7)
    tried.write(model, RECORD)
    assert of.version(1).given == [Batch([event(1)], {}, [])]


def test_a_tombstone_is_applied_as_a_removal() -> None:
    of = GivenVersions()
    tried = versions(of)
    tried.write(tried.passed(0, 7)[0], Record(0, 7, None, removes=("id", 3)))
    assert of.version(1).given == [Batch([], {}, [("id", 3)])]


def test_a_dropped_version_is_ignored() -> None:
    of = GivenVersions()
    tried = versions(of)
    tried.passed(0, 4)
    of.drop(2)
    [model] = tried.passed(0, 4)
    of.version(1).raises = [Dropped("it was dropped")]
    tried.write(model, RECORD)
    assert of.version(1).given == []


def test_a_version_that_a_rebuild_has_finished_is_reopened() -> None:
    of = GivenVersions()
    tried = versions(of)
    [model] = tried.passed(0, 7)
    of.version(1).raises = [Fenced("another process finished it")]
    tried.write(model, RECORD)
    assert (of.version(1).closed, len(of.version(1).given)) == (1, 1)
    of.version(1).raises = [Fenced("again"), Fenced("and again")]
    with pytest.raises(Fenced, match="again"):
        tried.write(model, RECORD)


def test_a_refusal_names_the_version() -> None:
    of = GivenVersions()
    tried = versions(of)
    [model] = tried.passed(0, 7)
    of.version(1).raises = [Poisoned("no", code="refused")]
    with pytest.raises(Poisoned, match="version 1 of memory: no") as refused:
        tried.write(model, RECORD)
    assert refused.value.code == "refused"
    tried.close()
    assert of.version(1).closed == 1
