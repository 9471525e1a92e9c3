"""Errors reach other processes as they were raised."""

import pickle
from collections.abc import Iterator

import pytest

from projectors.elasticsearch.index.write_lock import WritesPaused
from runtime.configuration.rule import WrongValueError
from schemas.errors import Rejected, RollbookError


def kinds(below: type[RollbookError]) -> Iterator[type[RollbookError]]:
    yield below
    for kind in below.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize(
    "error",
    [
        RollbookError("it failed", code="version_not_found", next_step="do otherwise"),
        Rejected("it is taken", code="email_taken", user_id="an id", field="email"),
        WritesPaused("users-1"),
        WrongValueError("group_size", "must be a number", "ROLLBOOK_GROUP_SIZE"),
    ],
)
def test_an_error_is_the_same_in_another_process(error: RollbookError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), str(again)) == (type(error), str(error))
    assert vars(again) == vars(error)


@pytest.mark.parametrize("kind", list(kinds(RollbookError)))
def test_so_is_each_kind_of_error_whatever_its_arguments(kind: type[RollbookError]) -> None:
    error = kind.__new__(kind, "it failed")
    error.code = "a_code"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), again.args, again.code) == (kind, ("it failed",), "a_code")
