"""`rollbook verify` detects a violation of every promise about the history read model."""

from collections.abc import Callable
from typing import Any

import pytest

from schemas.records import USER_ERASED, UserEvent
from scripts.verify.checks.stores import HistoryChecks, fold
from scripts.verify.facts import Entry
from tests.unit.scripts.verify.forged import HOME, ID, PARTITIONS, as_history, broken, event, gone

ERASED = gone(4, 4, USER_ERASED)
CHANGES = [{"field": "age", "before": 31, "after": 32}]
EVENTS: list[UserEvent] = [event(1), event(2, 2) | {"changes": CHANGES}, event(3, 3)]


def row(event: UserEvent) -> dict[str, Any]:
    """Return the row that the read model holds of an event."""
    names = ("user_id", "version", "seq", "type", "command_id", "occurred_at", "issued_by")
    state = dict.fromkeys(("email", "email_key", "name", "age", "created_at", "created_by"))
    held: dict[str, Any] = {name: event[name] for name in names}  # type: ignore[literal-required]
    return held | state | (event["user"] or {}) | {"changes": event["changes"] or None}


def tombstone(offset: int, version: int) -> Entry:
    """Return what the handler writes for an event of an erased user."""
    return Entry(HOME, offset, f"{ID}:{version}", None)


def check(entries: list[Entry], rows: list[dict[str, Any]]) -> HistoryChecks:
    """Return the checks of one partition."""
    checks = HistoryChecks()
    checks.partition(fold(entries, PARTITIONS), rows)
    return checks


def wrong(checks: HistoryChecks) -> list[str]:
    """Return the promises that are broken, as short names."""
    return [name for name in ("same", "erased") if broken([getattr(checks, name)])]


def test_every_event_is_a_row() -> None:
    checks = check(as_history(EVENTS), [row(one) for one in EVENTS])
    assert wrong(checks) == []
    assert checks.same.looked_at == 3


@pytest.mark.parametrize(
    "forge",
    [
        {"seq": 9},
        {"occurred_at": 9},
        {"type": "UserRenamed"},
        {"command_id": "another"},
        {"changes": None},
        {"changes": [{"field": "age", "before": 31, "after": 33}]},
        {"email": "other@example.com"},
        {"email_key": "other@example.com"},
        {"name": "Mallory"},
        {"age": 5},
        {"created_at": 9},
        {"created_by": "another"},
        {"issued_by": "Mallory"},
        {"version": 9},
    ],
)
def test_a_row_that_differs_is_found(forge: dict[str, Any]) -> None:
    """The finding names its place and contains no personal data."""
    rows = [row(one) for one in EVENTS]
    rows[1] |= forge
    checks = check(as_history(EVENTS), rows)
    assert wrong(checks) == ["same"]
    assert ID in checks.same.examples[0]
    assert "Mallory" not in " ".join(checks.same.examples)


@pytest.mark.parametrize(
    ("forge", "word"),
    [
        (lambda rows: rows[1:], "missing"),
        (lambda rows: [*rows, rows[0] | {"version": 4}], "not on the log"),
        (lambda rows: [*rows, rows[0] | {"user_id": "somebody"}], "not on the log"),
    ],
)
def test_a_missing_or_extra_row_is_found(
    forge: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], word: str
) -> None:
    checks = check(as_history(EVENTS), forge([row(one) for one in EVENTS]))
    assert wrong(checks) == ["same"]
    assert word in checks.same.examples[0]


HALF_COMPACTED = [
    as_history([*EVENTS, ERASED]),  # the tombstones are still to come
    [*as_history([*EVENTS, ERASED]), *[tombstone(4 + n, 1 + n) for n in range(3)]],
    [*as_history([EVENTS[1], ERASED]), tombstone(6, 2)],
    as_history([ERASED]),
    as_history([ERASED, EVENTS[0]]),  # and a late record after it
]


@pytest.mark.parametrize("entries", HALF_COMPACTED)
def test_an_erased_user_may_have_only_its_marker(entries: list[Entry]) -> None:
    """However much of the log was compacted; a row before the marker is found."""
    assert wrong(check(entries, [row(ERASED)])) == []
    assert wrong(check(entries, [])) == ["same"]
    late = check(entries, [row(ERASED), row(EVENTS[0])])
    assert wrong(late) == ["same", "erased"]
    assert "still exists" in late.erased.examples[0]


@pytest.mark.parametrize(
    "forge", [{"name": "Jane"}, {"changes": CHANGES}, {"email_key": "jane@example.com"}]
)
def test_a_marker_with_personal_data_is_found(forge: dict[str, Any]) -> None:
    """Also if a foreign writer wrote it to the log."""
    checks = check(as_history([ERASED]), [row(ERASED) | forge])
    assert wrong(checks) == ["same", "erased"]
    on_the_log = ERASED | {"changes": CHANGES, "user": EVENTS[0]["user"]}
    assert wrong(check(as_history([on_the_log]), [row(on_the_log)])) == ["same", "erased"]
    assert wrong(check(as_history([on_the_log]), [row(ERASED)])) == []


def test_a_version_without_a_column_for_who_asked_is_compared_without_it() -> None:
    """An earlier release built it. The events on the log may say who asked."""
    entries = as_history([one | {"issued_by": "key-1"} for one in EVENTS])
    rows = [{n: v for n, v in row(one).items() if n != "issued_by"} for one in EVENTS]
    for rows_held, expected in ((rows, []), (rows[1:], ["same"])):
        checks = HistoryChecks()
        checks.partition(fold(entries, PARTITIONS, with_issuer=False), rows_held)
        assert wrong(checks) == expected
    assert wrong(check(entries, rows)) == ["same"]


def test_a_tombstone_removes_its_event_without_an_erasure_too() -> None:
    """Only the event that it names."""
    entries = [*as_history(EVENTS), tombstone(3, 2)]
    assert wrong(check(entries, [row(EVENTS[0]), row(EVENTS[2])])) == []
    assert wrong(check(entries, [row(one) for one in EVENTS])) == ["same"]


def test_foreign_records_are_ignored() -> None:
    """Under another key, in another partition, or unreadable."""
    foreign = [
        Entry(HOME, 0, "another", EVENTS[0]),
        Entry((HOME + 1) % PARTITIONS, 1, f"{ID}:1", EVENTS[0]),
        Entry(HOME, 2, f"{ID}:1", None, "bad_avro"),
        Entry(HOME, 3, None, None),
        Entry(HOME, 4, "x", None),
    ]
    assert wrong(check(foreign, [])) == []
