"""What a rebuild is compared with: the rows that a log leaves."""

from typing import Any

from projectors.contract.read_model import Row
from projectors.contract.source import LATEST_STATE, WHOLE_HISTORY
from projectors.log.fold import LogFold
from projectors.log.records import Record
from projectors.versions.compare import Digest
from schemas.errors import Poisoned
from schemas.records import USER_ERASED, UserEvent


def record(user: str, version: int, **changed: Any) -> Record:
    """Return a record whose event brings `user` to `version`."""
    event: Any = {"user_id": user, "version": version, "type": "UserUpdated", **changed}
    return Record(0, version, event)


def row_of(event: UserEvent) -> Row:
    return event["user_id"], event["version"]


def users(*records: Record) -> list[Row]:
    """Return what is left of `user-events`."""
    return _folded(LogFold(LATEST_STATE, row_of), records)


def history(*records: Record) -> list[Row]:
    """Return what is left of `user-history`."""
    return _folded(LogFold(WHOLE_HISTORY, row_of), records)


def _folded(fold: LogFold, records: tuple[Record, ...]) -> list[Row]:
    for one in records:
        fold.add(one)
    return sorted(fold.rows())


def test_of_each_user_the_greatest_version_is_left_in_whatever_order() -> None:
    assert users(record("a", 1), record("b", 1), record("a", 3), record("a", 2)) == [
        ("a", 3),
        ("b", 1),
    ]


def test_of_the_history_every_version_is_left_once() -> None:
    assert history(record("a", 1), record("a", 2), record("a", 1)) == [("a", 1), ("a", 2)]


def test_an_erasure_leaves_itself_alone_whatever_comes_late() -> None:
    erased = record("a", 3, type=USER_ERASED)
    assert history(record("a", 1), record("a", 2), erased, record("a", 2)) == [("a", 3)]


def test_a_tombstone_removes_its_version_and_what_comes_after_stays() -> None:
    tombstone = Record(0, 9, None, removes=("a", 1))
    assert history(record("a", 1), record("a", 2), tombstone) == [("a", 2)]
    assert history(tombstone, record("a", 1)) == [("a", 1)]


def test_a_broken_record_is_nothing_and_who_is_left_out_has_no_rows() -> None:
    fold = LogFold(LATEST_STATE, row_of)
    fold.add(Record(0, 1, None, Poisoned("broken")))
    fold.add(record("a", 1))
    fold.leave_out("a")
    fold.add(record("a", 3))
    fold.add(record("b", 1))
    assert list(fold.rows()) == [("b", 1)]


def test_a_digest_takes_rows_in_any_order_and_sees_each() -> None:
    """One changed, one missing, one twice: each makes another."""

    def digest(*rows: Row) -> Digest:
        found = Digest()
        for row in rows:
            found.add(row)
        return found

    assert digest(("a", 1), ("b", 2)) == digest(("b", 2), ("a", 1))
    others = [digest(("a", 1), ("b", 3)), digest(("a", 1)), digest(("a", 1), ("b", 2), ("b", 2))]
    assert digest(("a", 1), ("b", 2)) not in others
