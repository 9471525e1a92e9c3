"""A rebuild that is killed leaves the live version as it was, and can be run again."""

from collections.abc import Callable
from contextlib import closing

import pytest

from projectors.catalog import open_versions
from projectors.contract.read_model import READY, Dropped, ReadModelVersions
from runtime.settings import Settings
from scripts.bench.stores import remove_read_models
from tests.faults.outage import RunningImport, wait_caught_up
from tests.processes import Rollbook, eventually

USERS = 6_000


def is_filled(reached: int | None) -> bool:
    """Say whether it holds something."""
    return bool(reached)


def is_full(reached: int | None) -> bool:
    """Say whether it has applied everything, so that it is indexed or compared."""
    return reached == USERS


def reached_by_newest(versions: ReadModelVersions) -> int | None:
    """Return how many events a version that is being built has applied; None if there is none."""
    newest = versions.versions()[-1]
    if newest.live:
        return None
    try:
        with closing(versions.open(newest.number)) as model:
            return sum(position.last_seq for position in model.checkpoint().values())
    except Dropped:  # by the rebuild, which removes what the one before left
        return None


@pytest.mark.parametrize(
    ("name", "moments"),
    [("postgres", (is_filled,)), ("elasticsearch", (is_full,))],
    ids=("postgres", "elasticsearch"),
)
def test_a_rebuild_is_killed_at_any_point(
    settings: Settings,
    rollbook: Rollbook,
    name: str,
    moments: tuple[Callable[[int | None], bool], ...],
) -> None:
    """While it is filled, or when it is full; then it is run to its end, and swapped in."""
    rollbook.start_handler()
    projector = rollbook.start_projector(name)
    RunningImport(rollbook, USERS, pace=USERS).wait()
    wait_caught_up(settings, name)
    with closing(open_versions(settings, name)) as versions:
        for moment in moments:
            rebuild = rollbook.start("projector", "rebuild", name)
            eventually(
                lambda moment=moment: moment(reached_by_newest(versions)),  # type: ignore[misc]
                what=moment.__name__,
            )
            rebuild.kill()
            found = versions.versions()
            assert (found[0].state, found[0].live) == (READY, True)
        built = rollbook.json("projector", "rebuild", name)
        assert built["rows_compared"] == USERS
        number = built["version"]
        assert rollbook.run("projector", "swap", name, str(number)).returncode == 0
        live = [version.number for version in versions.versions() if version.live]
        assert live == [number]
        for version in versions.versions():
            if not version.live:
                rest = ("drop", name, str(version.number), "--yes")
                assert rollbook.run("projector", *rest).returncode == 0
    wait_caught_up(settings, name)
    assert projector.stop() == 0
    remove_read_models(settings)
