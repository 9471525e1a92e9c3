"""The status of read models whose versions change while it is read."""

from projectors.versions.status import _ask
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
