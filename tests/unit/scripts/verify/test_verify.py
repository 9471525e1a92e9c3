"""`rollbook verify` detects a violation of every promise about the log, and reports no other."""

import copy
from typing import Any

import pytest

from schemas.errors import Poisoned
from schemas.letters import Letters, letter_of
from schemas.topics import EMAILS, EVENTS, HISTORY, Topic
from scripts.verify.checks.foreign import ForeignChecks
from scripts.verify.checks.log import LogChecks
from scripts.verify.facts import EXAMPLES, NO_CUT, Check, Entry
from scripts.verify.reader import require_trusted
from tests.samples.events import user_id_of
from tests.samples.given import address_in
from tests.unit.scripts.verify.forged import (
    HOME,
    ID,
    JANE,
    PARTITIONS,
    as_events,
    as_history,
    broken,
    erasure,
    event,
    gone,
    only,
)


def log_checks(
    history: list[Entry], events: list[Entry] | None = None, cut: int = NO_CUT
) -> LogChecks:
    if events is None:
        events = as_events([entry.record for entry in history if entry.record])
    checks = LogChecks(PARTITIONS)
    checks.history(HOME, history)
    checks.events(HOME, events)
    checks.compare_topics(HOME, cut)
    checks.finish()
    return checks


GOOD = [event(1), event(2, 2), event(3, 3)]


def test_a_valid_log_passes() -> None:
    """A log as the handler writes it breaks no promise, and every promise was checked."""
    checks = log_checks(as_history(GOOD))
    assert broken(checks.checks()) == []
    assert all(check.looked_at for check in checks.checks())


def test_compaction_is_not_a_violation() -> None:
    assert broken(log_checks(as_history(GOOD), as_events(GOOD[-1:])).checks()) == []


OTHER_STATE = {"user": event(2, 2)["user"] | {"name": "Forged"}}
REPLAYED = f"user {ID} version 2"


@pytest.mark.parametrize(
    ("history", "promise", "example"),
    [
        # A wrong state, a missing change, a wrong type: the replay gives another user.
        ([event(1), event(2, 2) | OTHER_STATE], "replay", REPLAYED),
        ([event(1), event(2, 2) | {"changes": []}], "replay", REPLAYED),
        ([event(1), event(2, 2) | {"type": "UserDeleted"}], "replay", REPLAYED),
        ([event(1), event(3, email=address_in(HOME))], "seq", "no seq 2–2"),
        ([event(1), event(2, 3)], "version", f"user {ID} lacks 1"),
        ([event(1), event(2, 2), event(3, 2)], "version", "version 2 after 2"),
        ([event(1), event(2, 2) | {"occurred_at": 999}], "time", ""),
        (
            [event(1) | {"user": event(1, email="x@example.com")["user"]}],
            "place",
            "not in the partition of its address",
        ),
    ],
)
def test_a_flaw_breaks_only_its_promise(history: list[Any], promise: str, example: str) -> None:
    checks = log_checks(as_history(history))
    assert example in only(checks, getattr(checks, promise))


def test_a_type_of_a_newer_release_is_not_replayed() -> None:
    """Its state is trusted, and the replay continues from it."""
    renamed = event(2, 2) | {"type": "UserPromoted", "changes": []}
    checks = log_checks(as_history([event(1), renamed, event(3, 3)]))
    assert broken(checks.checks()) == []
    assert checks.replay.looked_at == 2


def test_a_repeated_seq_is_found() -> None:
    """Two events with one seq, as two writers would leave."""
    checks = log_checks(as_history([event(1), event(2, 2), event(2, 3)]))
    assert checks.seq.promise in broken(checks.checks())
    assert "seq 2 after 2" in checks.seq.examples[0]


def test_only_an_erasure_allows_gaps() -> None:
    """An erased user's records may be gone, a deleted user's may not."""
    erased = as_history([erasure(3, 3), f"{ID}:1", f"{ID}:2"])
    checks = log_checks(erased)
    assert broken(checks.checks()) == []
    assert checks.removed.found == 2
    deleted = log_checks(as_history([gone(3, 3)]))
    assert broken(deleted.checks()) == [deleted.seq.promise, deleted.version.promise]


def test_an_erasure_that_leaves_something_is_found() -> None:
    """An event without tombstone, one written again after it, a marker with personal data."""
    good = [*GOOD, erasure(4, 4), *(f"{ID}:{version}" for version in (1, 2, 3))]
    assert broken(log_checks(as_history(good)).checks()) == []
    for bad in (good[:-1], [*good, GOOD[0]]):
        checks = log_checks(as_history(bad), as_events([*GOOD, erasure(4, 4)]))
        assert checks.erased.promise in broken(checks.checks())
        assert "still exists" in checks.erased.examples[0]
    changes = [{"field": "age", "before": 33, "after": None}]
    telling = [*GOOD, erasure(4, 4) | {"changes": changes}, *good[4:]]
    checks = log_checks(as_history(telling))
    assert "contains personal data" in only(checks, checks.erased)
    checks = log_checks(as_history(good[:-1]), as_events(good[:4]), cut=3)
    assert broken(checks.checks()) == []


def test_removed_history_of_a_user_who_was_not_erased_is_found() -> None:
    """A tombstone for a deleted user's history, whether compaction has run or not."""
    for kept in ([GOOD[0]], []):
        checks = log_checks(as_history([*kept, event(2, 2), gone(3, 3), f"{ID}:1"]))
        assert checks.erased.promise in broken(checks.checks())
        assert "was removed" in checks.erased.examples[0]


def test_a_record_on_the_wrong_partition_is_found() -> None:
    elsewhere = LogChecks(PARTITIONS)
    wrong = (HOME + 1) % PARTITIONS
    elsewhere.history(wrong, as_history([event(1)]))
    elsewhere.events(wrong, as_events([event(1)]))
    elsewhere.compare_topics(wrong)
    elsewhere.finish()
    assert ID in only(elsewhere, elsewhere.place)


@pytest.mark.parametrize("where", ["history", "events", "event_id"])
def test_a_wrong_key_is_found(where: str) -> None:
    """With a wrong key, compaction would remove another record."""
    record = event(1) | ({"event_id": "other:1"} if where == "event_id" else {})
    history, events = as_history([record]), as_events([record])
    if where == "history":
        history[0] = history[0]._replace(key=ID)
    if where == "events":
        events[0] = events[0]._replace(key=f"{ID}:1")
    checks = log_checks(history, events)
    only(checks, checks.key)


def test_two_live_users_with_one_address_are_found() -> None:
    """Within a partition at any time, and over all partitions at the end."""
    checks = log_checks(as_history([event(1), event(2, number=1)]))
    assert broken(checks.checks()) == [checks.moment.promise, checks.everywhere.promise]
    assert user_id_of(JANE, 1) in checks.moment.examples[0]
    assert JANE not in str([check.as_json() for check in checks.checks()])


def test_a_shared_address_is_reported_only_after_two_readings() -> None:
    """A single reading may show a user before it left an address and its next holder afterwards."""
    checks = LogChecks(PARTITIONS)
    checks.events(HOME, as_events([event(1), event(2, number=1)]))
    before = checks.shared_addresses()
    assert before == {frozenset((ID, user_id_of(JANE, 1)))}
    checks.later(as_events([gone(3, 2)]))
    checks.finish(before)
    assert broken(checks.checks()) == []


def test_a_shared_address_that_ended_is_still_found() -> None:
    """It was never allowed, even if the first holder is gone by now."""
    checks = log_checks(as_history([event(1), event(2, number=1), gone(3, 2)]))
    assert broken(checks.checks()) == [checks.moment.promise]


def test_an_address_may_be_used_again() -> None:
    assert broken(log_checks(as_history([event(1), gone(2, 2), event(3, number=1)])).checks()) == []


@pytest.mark.parametrize(
    "events",
    [
        [event(1), event(2, 2)],  # the last one is missing
        [event(1), event(2, 2), event(3, 3) | {"command_id": "forged"}],
        [],
    ],
)
def test_events_that_differ_from_history_are_found(events: list[Any]) -> None:
    """Missing, older or altered: the two topics were written in one transaction."""
    checks = log_checks(as_history(GOOD), as_events(events))
    assert ID in only(checks, checks.same)


def test_events_decided_during_the_reading_are_left_out() -> None:
    """Topics read at different times may differ at their ends, but not before the cut."""
    assert broken(log_checks(as_history(GOOD), as_events(GOOD[:2]), cut=2).checks()) == []
    checks = log_checks(as_history(GOOD), as_events(GOOD[:2]), cut=3)
    only(checks, checks.same)


def test_a_repaired_record_may_come_late() -> None:
    """`rollbook handler repair` appends a copy of the user's last event, and no other one."""
    other = event(3, email=address_in(HOME))
    history = as_history([event(1), event(2, 2), other])
    assert broken(log_checks(history, as_events([event(2, 2), other, event(2, 2)])).checks()) == []
    checks = log_checks(history, as_events([event(2, 2), other, event(1)]))
    assert checks.order.promise in broken(checks.checks())


def test_events_out_of_order_or_bare_tombstones_are_found() -> None:
    """`user-events` keeps its order under compaction, and a deletion is a record."""
    checks = log_checks(as_history(GOOD), as_events([GOOD[1], GOOD[0], GOOD[2]]))
    only(checks, checks.order)
    checks = log_checks(as_history(GOOD), as_events([*GOOD, None]))
    assert "tombstone" in only(checks, checks.order)


def test_foreign_bytes_break_no_other_promise() -> None:
    foreign = Entry(HOME, 9, None, None, "wrong_magic")
    checks = log_checks([*as_history(GOOD), foreign], [*as_events(GOOD), foreign])
    assert broken(checks.checks()) == []


def test_foreign_bytes_are_found_until_their_letters_are_settled() -> None:
    """A record that was read without a problem is none."""
    foreign = Entry(HOME, 9, None, None, "wrong_magic")
    place = ("user-events", HOME, 9)
    letters: list[Any] = [
        letter_of(*place, reader=f"projector:{name}", poison=Poisoned("", code="bad_avro"), now=0)
        for name in ("postgres", "elasticsearch")
    ]
    settled = [letter | {"settled": "discarded"} for letter in letters]
    for written, holds in (
        ([], False),
        (letters, False),
        ([*letters, settled[0]], False),
        (letters + settled, True),
    ):
        checks = ForeignChecks()
        assert len(list(checks.read("user-events", [*as_events(GOOD), foreign]))) == 1 + len(GOOD)
        checks.finish(Letters(written), "user-commands")
        assert checks.foreign.holds == holds
        assert checks.open_letters.holds == (holds or not written)
    checks = ForeignChecks()
    list(checks.read("user-events", [*as_events(GOOD), foreign]))
    of_command = letters[0] | {"topic": "user-commands"}
    checks.finish(Letters([of_command]), "user-commands")
    assert checks.open_letters.holds
    assert checks.foreign.examples == [f"user-events partition {HOME} offset 9: wrong_magic"]


def test_examples_are_bounded() -> None:
    """A million violations print ten lines and the count."""
    check = Check("a promise")
    for number in range(1000):
        check.report(str(number))
    assert (check.found, len(check.examples)) == (1000, EXAMPLES)
    assert check.line().startswith("✗ a promise")
    listing = copy.copy(check)
    listing.listing = True
    assert listing.holds
    assert listing.line().startswith("·")


@pytest.mark.parametrize(
    ("topic", "key", "forged", "code"),
    [
        (EVENTS, "other", {}, "wrong_key"),
        (EVENTS, ID, {"version": 2**63 - 1}, "bad_version"),
        (EVENTS, ID, {"occurred_at": -1}, "bad_time"),
        (HISTORY, ID, {}, "wrong_key"),
        (HISTORY, f"{ID}:1", {"seq": 0}, "bad_seq"),
        (HISTORY, "x:1", None, "wrong_key"),
    ],
)
def test_records_that_projectors_skip_are_skipped(
    topic: Topic, key: str, forged: dict[str, Any] | None, code: str
) -> None:
    """A readable event that is dead-lettered is foreign and breaks no promise."""
    record = None if forged is None else event(1) | forged
    entry = Entry(HOME, 0, key, record)
    with pytest.raises(Poisoned) as caught:
        require_trusted(topic, entry, key.encode(), PARTITIONS)
    assert caught.value.code == code


def test_records_that_projectors_trust_are_checked() -> None:
    """Records that are not events are checked too: claims, address messages, commands."""
    for topic, key in ((EVENTS, ID), (HISTORY, f"{ID}:1"), (EMAILS, "anything")):
        require_trusted(topic, Entry(HOME, 0, key, event(1)), key.encode(), PARTITIONS)
    require_trusted(HISTORY, Entry(HOME, 0, f"{ID}:1", None), f"{ID}:1".encode(), PARTITIONS)
    require_trusted(EMAILS, Entry(HOME, 0, "k", None), b"k", PARTITIONS)
