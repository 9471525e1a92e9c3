"""`rollbook verify` detects a violation of every promise about a read model."""

from collections.abc import Callable
from typing import Any

import pytest

from projectors.contract.read_model import Position
from projectors.elasticsearch.index.mapping import USER_FIELDS, document
from scripts.verify.checks.stores import (
    Stored,
    Summary,
    check_current,
    check_leftovers,
    check_summary,
    check_users,
    check_visible,
    recomputed,
    stored,
)
from scripts.verify.documents import is_derived
from scripts.verify.facts import Last, last_of
from tests.samples.events import user_id_of
from tests.unit.scripts.verify.forged import HOME, ID, JANE, PARTITIONS, erasure, event, gone

USERS: dict[str, Last] = {ID: last_of(event(3, 3))}
ROW: Stored = stored(
    {
        "version": 3,
        "email": JANE,
        "name": "Jane 3",
        "age": 33,
        "age_group": "adult",
        "created_at": 1001,
        "updated_at": 1003,
    }
)
AT_END = {HOME: Position("topic", 9, 3)}


def test_a_correct_read_model_passes() -> None:
    assert check_users("x", {ID: ROW}, AT_END, USERS, PARTITIONS).holds


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("email", 1), ("name", 1), ("age", 34), ("age_group", "teen"), ("version", 2)],
        *[("age", None), ("created_at", 978_307_200_000), ("updated_at", 1), ("derived", False)],
    ],
)
def test_a_row_that_differs_is_found(field: str, value: Any) -> None:
    """A wrong field, an old version, or a live user marked as deleted; the value is not shown."""
    check = check_users("x", {ID: ROW._replace(**{field: value})}, AT_END, USERS, PARTITIONS)
    assert not check.holds
    assert ID in check.examples[0]
    assert "jane" not in check.examples[0].lower()


def test_a_missing_or_extra_row_is_found() -> None:
    assert "missing" in check_users("x", {}, AT_END, USERS, PARTITIONS).examples[0]
    extra = {ID: ROW, user_id_of("x@example.com"): ROW}
    check = check_users("x", extra, AT_END, USERS, PARTITIONS)
    assert "not on the log" in check.examples[0]


def test_a_deleted_user_that_is_still_shown_is_found() -> None:
    users = {ID: last_of(gone(4, 4))}
    positions = {HOME: Position("topic", 9, 4)}
    marker = stored({"version": 4, "updated_at": 1004})
    assert check_users("x", {ID: marker}, positions, users, PARTITIONS).holds
    assert not check_users("x", {ID: ROW}, positions, users, PARTITIONS).holds
    alive = ROW._replace(version=4)
    assert not check_users("x", {ID: alive}, positions, users, PARTITIONS).holds
    for left in ({"email": JANE}, {"name": "Jane"}, {"created_at": 1001}, {"derived": False}):
        kept = stored({"version": 4, "updated_at": 1004} | left)
        assert not check_users("x", {ID: kept}, positions, users, PARTITIONS).holds


def test_an_erased_user_in_a_version_that_is_not_compared_is_found() -> None:
    users = {ID: last_of(erasure(4, 4))}
    assert check_leftovers("x", [(ID, 4), (user_id_of("x@example.com"), 1)], users).holds
    assert ID in check_leftovers("x", [(ID, 3)], users).examples[0]
    assert check_leftovers("x", [(ID, 3)], {ID: last_of(gone(4, 4))}).holds


def test_a_document_whose_derived_fields_are_wrong_is_found() -> None:
    found = document(event(3, 3))
    assert is_derived(ID, found, USER_FIELDS)
    for name in ("email_domain", "email_folded", "name_folded", "gone", "user_id"):
        assert not is_derived(ID, {**found, name: "other"}, USER_FIELDS)
    without = {name: value for name, value in found.items() if name != "email_domain"}
    assert not is_derived(ID, without, USER_FIELDS)
    assert is_derived(ID, without, without)  # an older version, which does not have the field
    marker = document(erasure(4, 4))
    assert is_derived(ID, marker, USER_FIELDS)
    assert not is_derived(ID, {**marker, "name_folded": "jane"}, USER_FIELDS)


def test_a_row_beyond_the_checkpoint_may_be_older_but_not_newer() -> None:
    """A lagging model is checked up to its checkpoint, but must not be ahead of the log."""
    behind = {HOME: Position("topic", 5, 2)}
    for row in ({ID: ROW._replace(version=2, name=0)}, {}, {ID: ROW}):
        assert check_users("x", row, behind, USERS, PARTITIONS).holds
    for wrong in (ROW._replace(version=4), ROW._replace(age=1)):
        assert not check_users("x", {ID: wrong}, behind, USERS, PARTITIONS).holds


def test_a_model_that_lags_is_found() -> None:
    """Behind, never started, or at the offsets of a topic that was re-created."""
    assert check_current("x", AT_END, {HOME: 3}, "topic").holds
    assert "seq 3 of 4" in check_current("x", AT_END, {HOME: 4}, "topic").examples[0]
    assert not check_current("x", {}, {HOME: 1}, "topic").holds
    assert "another topic" in check_current("x", AT_END, {HOME: 3}, "new").examples[0]


RIGHT = Summary(2, 25.5, {"teen": 1, "adult": 1, "senior": 0})
HELD = [ROW._replace(age=19), ROW._replace(age=32), stored({"version": 2, "updated_at": 1002})]


@pytest.mark.parametrize(
    "forge",
    [
        lambda s: s._replace(total_users=3),
        lambda s: s._replace(average_age=25.6),
        lambda s: s._replace(average_age=None),
        lambda s: s._replace(users_by_age_group={"teen": 2, "adult": 0, "senior": 0}),
    ],
)
def test_a_wrong_summary_is_found(forge: Callable[[Summary], Summary]) -> None:
    assert recomputed(HELD) == RIGHT
    assert check_summary(RIGHT, HELD).holds
    assert not check_summary(forge(RIGHT), HELD).holds


def test_a_marker_that_queries_show_is_found() -> None:
    assert check_visible("x", 2, HELD).holds
    assert not check_visible("x", 3, HELD).holds
    assert not check_visible("x", 1, HELD).holds
