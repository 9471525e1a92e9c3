"""Which versions are paused and resumed, and what is refused of a paused one."""

import pytest

from projectors.versions.pause import set_paused
from projectors.versions.swap import _check_ready
from projectors.versions.visibility import LiveVersion
from schemas.errors import NotInTime, Rejected, Unavailable
from schemas.tokens import parse_token
from tests.unit.projectors.versions.memory_versions import MemoryVersions


@pytest.fixture
def versions() -> MemoryVersions:
    """Version 1 is live, version 2 is ready."""
    versions = MemoryVersions()
    versions.begin()
    versions.create()
    return versions


def paused(versions: MemoryVersions) -> list[int]:
    return [version.number for version in versions.versions() if version.paused_at is not None]


def test_without_a_number_every_version_is_paused(versions: MemoryVersions) -> None:
    assert set_paused(versions, None, paused=True) == [1, 2]
    assert paused(versions) == [1, 2]
    assert set_paused(versions, 1, paused=False) == [1]
    assert paused(versions) == [2]


def test_a_version_that_does_not_exist_is_refused(versions: MemoryVersions) -> None:
    for number in (7, None):
        empty = MemoryVersions()
        with pytest.raises(Rejected) as refused:
            set_paused(versions if number else empty, number, paused=True)
        assert refused.value.code == "version_not_found"


def test_a_change_that_is_undone_meanwhile_is_repeated(versions: MemoryVersions) -> None:
    """In Elasticsearch, two changes of one version at the same moment may overwrite each other."""
    calls = iter(range(100))
    versions.happens = lambda: versions.paused.clear() if next(calls) < 3 else None
    set_paused(versions, 1, paused=True)
    assert paused(versions) == [1]
    versions.happens = versions.paused.clear
    with pytest.raises(Unavailable) as busy:
        set_paused(versions, 1, paused=True)
    assert busy.value.code == "versions_busy"


def test_a_paused_version_is_not_made_live(versions: MemoryVersions) -> None:
    """It would never catch up. One that is live already stays so."""
    set_paused(versions, None, paused=True)
    with pytest.raises(Rejected) as refused:
        _check_ready(versions, 2)
    assert refused.value.code == "version_paused"
    assert "resume memory --version 2" in refused.value.next_step
    _check_ready(versions, 1)


def test_a_query_with_a_token_says_that_the_version_is_paused(versions: MemoryVersions) -> None:
    versions.models[1].seqs = {2: 4}
    set_paused(versions, 1, paused=True)
    live = LiveVersion(versions, lambda _topic: "topic")
    with pytest.raises(NotInTime, match="version 1 of it is paused") as late:
        live.wait(parse_token("2:5"), timeout_seconds=0)
    assert "resume memory" in late.value.next_step
    set_paused(versions, 1, paused=False)
    set_paused(versions, 2, paused=True)
    with pytest.raises(NotInTime, match="has not reached 2:5"):
        live.wait(parse_token("2:5"), timeout_seconds=0)


def test_a_read_model_without_pauses_refuses(versions: MemoryVersions) -> None:
    with pytest.raises(Rejected) as refused:
        set_paused(Unpausable(), 1, paused=True)  # type: ignore[arg-type]
    assert refused.value.code == "cannot_pause"


class Unpausable:
    """Versions of a read model that keeps no pauses."""

    name = "plain"
