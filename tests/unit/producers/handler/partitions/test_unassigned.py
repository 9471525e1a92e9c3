"""A member leaves the group only if partitions stay unassigned after it has joined.

`tests/unit/simulation` has the rebalance that leaves partitions to nobody.
"""

from collections.abc import Iterator

import pytest

from producers.handler.partitions.unassigned import UnassignedPartitions


def looks(
    *found: set[int] | None,
) -> tuple[UnassignedPartitions, Iterator[set[int] | None]]:
    """Return what looks at once, at each call, and what it will find."""
    finds = iter(found)
    return UnassignedPartitions(lambda: next(finds), session_seconds=0.0), finds


@pytest.mark.parametrize(
    ("first", "second", "leaves"),
    [({1, 2}, {2}, True), ({1}, {2}, False), ({1}, set(), False)],
)
def test_it_leaves_if_the_same_partition_is_missing_twice(
    first: set[int], second: set[int], *, leaves: bool
) -> None:
    watch, _ = looks(first, second)
    assert [watch.must_leave(), watch.must_leave()] == [False, leaves]


def test_once_all_are_assigned_it_looks_no_more_until_it_joins_again() -> None:
    watch, finds = looks(set(), {0}, {0})
    assert not watch.must_leave()
    assert not watch.must_leave()
    watch.joined()
    assert [watch.must_leave(), watch.must_leave()] == [False, True]
    assert list(finds) == []


def test_it_asks_again_until_the_assignment_is_known() -> None:
    watch, finds = looks(None, {0}, None, {0})
    assert [watch.must_leave() for _ in range(4)] == [False, False, False, True]
    assert list(finds) == []


def test_it_does_not_ask_within_a_session() -> None:
    watch = UnassignedPartitions(lambda: {0}, session_seconds=3_600.0)
    assert not watch.must_leave()
    assert watch.leave_seconds > 3_600
