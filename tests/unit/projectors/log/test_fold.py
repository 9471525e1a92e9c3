"""The fold of a log: the rows that a rebuild is compared with."""

from typing import Any

from projectors.contract.read_model import Row
from projectors.contract.source import LATEST_STATE, WHOLE_HISTORY
from projectors.log.fold import LogFold
from projectors.log.records import Record
from schemas.errors import Poisoned
from schemas.records import USER_ERASED, UserEvent


def record(user: str, version: int, **changed: Any) -> Record:
    """Return a record whose event brings `user` to `version`."""
    event: Any = {"user_id": user, "version": version, "type": "UserUpdated", **changed}
    return Record(0, version, event)


def row_of(event: UserEvent) -> Row:
    return event["user_id"], event["version"]


def users(*records: Record) -> list[Row]:
    """Return the fold of these records of `user-events`."""
    return _folded(LogFold(LATEST_STATE, row_of), records)


def history(*records: Record) -> list[Row]:
    """Return the fold of these records of `user-history`."""
    return _folded(LogFold(WHOLE_HISTORY, row_of), records)


def _folded(fold: LogFold, records: tuple[Record, ...]) -> list[Row]:
    for one in records:
        fold.add(one)
    return sorted(fold.rows())


def test_the_highest_version_of_each_user_remains_in_any_order() -> None:
    assert users(record("a", 1), record("b", 1), record("a", 3), record("a", 2)) == [
        ("a", 3),
        ("b", 1),
    ]


def test_every_version_of_the_history_remains_once() -> None:
    assert history(record("a", 1), record("a", 2), record("a", 1)) == [("a", 1), ("a", 2)]


def test_after_an_erasure_only_the_erasure_remains_even_if_events_arrive_late() -> None:
    erased = record("a", 3, type=USER_ERASED)
    assert history(record("a", 1), record("a", 2), erased, record("a", 2)) == [("a", 3)]


def test_a_tombstone_removes_its_version_and_later_records_stay() -> None:
    tombstone = Record(0, 9, None, removes=("a", 1))
    assert history(record("a", 1), record("a", 2), tombstone) == [("a", 2)]
    assert history(tombstone, record("a", 1)) == [("a", 1)]


def test_poisoned_records_are_ignored_and_users_left_out_have_no_rows() -> None:
    fold = LogFold(LATEST_STATE, row_of)
    fold.add(Record(0, 1, None, Poisoned("broken")))
    fold.add(record("a", 1))
    fold.leave_out("a")
    fold.add(record("a", 3))
    fold.add(record("b", 1))
    assert list(fold.rows()) == [("b", 1)]
