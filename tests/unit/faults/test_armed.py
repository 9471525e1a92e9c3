"""A command of the nemesis breaks at the point that it was given."""

import pytest

from tests.faults.nemesis.armed import POINTS, Point, arm


class Store:
    """Something that a process calls."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def write(self, word: str) -> None:
        self.done.append(word)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(Store, "write", Store.write)  # what is armed is restored afterwards
    return Store()


def test_a_point_is_before_or_after_a_call(store: Store) -> None:
    seen: list[list[str]] = []
    for is_after in (False, True):
        arm(Point(((Store, "write"),), is_after=is_after), 2, lambda: seen.append([*store.done]))
    for word in ("one", "two", "three"):
        store.write(word)
    assert seen == [["one"], ["one", "two"]]


def test_only_calls_with_the_argument_of_a_point_are_counted(store: Store) -> None:
    seen: list[int] = []
    point = Point(((Store, "write"),), argument="it", first=2)
    arm(point, 2, lambda: seen.append(len(store.done)))
    for word in ("it", "other", "it", "other", "it", "it"):
        store.write(word)
    assert seen == [4]


def test_all_points_exist() -> None:
    for point in POINTS.values():
        assert all(callable(getattr(owner, name)) for owner, name in point.functions)
