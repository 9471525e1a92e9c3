"""Which versions a killed rebuild left behind, and which are still being built."""

from dataclasses import replace

import pytest

from projectors.contract.read_model import BUILDING, READY, Version
from projectors.versions.abandoned import LOOK_AFTER_SECONDS, AbandonedVersions
from tests.unit.projectors.versions.memory_versions import MemoryVersions


class Stored(MemoryVersions):
    """Version 1 is live, version 2 is being built by a rebuild that may be alive."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()
        self.building = {self.create()}
        self.rebuilding = False
        self.now = 0.0
        self.abandoned = AbandonedVersions(self, lambda: self.rebuilding, lambda: self.now)

    def versions(self) -> list[Version]:
        found = super().versions()
        return [replace(v, state=BUILDING) if v.number in self.building else v for v in found]

    def look(self, after_seconds: float = 0.0) -> list[int]:
        """Look once, later; return the versions that are left."""
        self.now += after_seconds
        self.abandoned.drop(self.versions())
        return [version.number for version in self.versions()]


@pytest.fixture
def stored() -> Stored:
    return Stored()


def test_a_version_whose_rebuild_is_gone_is_dropped(stored: Stored) -> None:
    assert stored.look() == [1, 2]
    assert stored.look(LOOK_AFTER_SECONDS) == [1]


def test_a_version_that_is_being_built_is_kept(stored: Stored) -> None:
    stored.rebuilding = True
    for _ in range(10):
        assert stored.look(LOOK_AFTER_SECONDS) == [1, 2]
    stored.rebuilding = False
    assert stored.look(1) == [1, 2]
    assert stored.look(LOOK_AFTER_SECONDS) == [1]


def test_a_version_that_became_ready_meanwhile_is_kept(stored: Stored) -> None:
    """Its rebuild ended well between the two looks."""
    stored.look()
    listed = stored.versions()
    assert {version.state for version in listed} == {READY, BUILDING}
    stored.building.clear()
    stored.now += LOOK_AFTER_SECONDS
    stored.abandoned.drop(listed)
    assert [version.number for version in stored.versions()] == [1, 2]
