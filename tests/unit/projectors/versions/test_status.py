"""The status of read models whose versions change while it is read."""

import pytest

from projectors.contract.read_model import Position, Version
from projectors.log.end import LogEnd
from projectors.versions.status import ProjectorsStatus, VersionStatus, _ask, partition_statuses
from runtime.settings import Settings
from tests.unit.projectors.versions.memory_versions import MemoryVersions


def test_a_version_dropped_meanwhile_is_left_out() -> None:
    versions = MemoryVersions()
    versions.begin()
    number = versions.create()
    questions = iter(range(100))

    def drop_after_the_list() -> None:
        if next(questions) == 1:
            versions.drop(number)

    versions.happens = drop_after_the_list
    _, answer = _ask(Settings(), lambda _settings: versions)
    assert isinstance(answer, list)
    assert [(version and version.number, held) for version, held in answer] == [(1, {})]


def together(checkpoint: dict[int, Position], paused_at: int | None = None) -> VersionStatus:
    """Return the status of one version in two partitions with 5 events each."""
    version = Version(3, "ready", live=True, created_at=1, live_since=1, paused_at=paused_at)
    ends = {partition: LogEnd(0, 9, 5) for partition in range(2)}
    rows = partition_statuses("users", version, checkpoint, "topic", ends)
    [found] = ProjectorsStatus(rows, {}, {"users": [version]}, {}).by_version()
    return found


@pytest.mark.parametrize(
    ("checkpoint", "state", "lag"),
    [
        ({}, "never run", 10),
        ({0: Position("topic", 9, 5)}, "behind", 5),
        ({0: Position("topic", 9, 5), 1: Position("topic", 9, 5)}, "caught up", 0),
        ({0: Position("topic", 3, 2), 1: Position("other", 9, 5)}, "other topic", None),
    ],
)
def test_the_worst_partition_is_the_state_of_a_version(
    checkpoint: dict[int, Position], state: str, lag: int | None
) -> None:
    found = together(checkpoint)
    assert (found.state, found.lag, found.partitions, found.live) == (state, lag, 2, True)


def test_a_paused_version_says_so() -> None:
    """Its lag still counts; `applied_at` is the latest of all partitions."""
    found = together({0: Position("topic", 3, 2, 7_000), 1: Position("topic", 9, 5, 1_000)}, 0)
    assert (found.state, found.lag) == ("paused", 3)
    shown = found.as_json()
    assert shown["paused_at"] == "1970-01-01T00:00:00.000Z"
    assert shown["applied_at"] == "1970-01-01T00:00:07.000Z"
