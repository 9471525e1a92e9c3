"""A killed rebuild leaves the live version unchanged, and can be run again."""

from collections.abc import Callable
from contextlib import closing

import pytest

from projectors.catalog import OURS, open_versions
from projectors.contract.read_model import READY, Dropped, ReadModelVersions
from runtime.settings import Settings
from tests.depth import depth
from tests.faults.outage import RunningImport
from tests.observed.catch_up import wait_caught_up
from tests.observed.read_models import live_versions
from tests.started.processes import Rollbook, eventually

USERS = 6_000


def exists(reached: int | None) -> bool:
    """Return whether the new version exists."""
    return reached is not None


def is_filled(reached: int | None) -> bool:
    """Return whether the new version has applied anything."""
    return bool(reached)


def is_full(reached: int | None) -> bool:
    """Return whether it has applied everything: it is being indexed or compared."""
    return reached == USERS


def reached_by_newest(versions: ReadModelVersions) -> int | None:
    """Return how many events a version that is being built has applied; None if there is none."""
    newest = versions.versions()[-1]
    if newest.live:
        return None
    try:
        with closing(versions.open(newest.number)) as model:
            return sum(position.last_seq for position in model.checkpoint().values())
    except Dropped:  # by the rebuild, which drops what the one before left
        return None


@pytest.mark.parametrize(
    ("name", "moments"),
    depth(
        [("postgres", (is_filled,))],
        [(name, (exists, is_filled, is_full)) for name in OURS],
    ),
)
def test_a_killed_rebuild_leaves_the_live_version_and_can_be_run_again(
    settings: Settings,
    rollbook: Rollbook,
    name: str,
    moments: tuple[Callable[[int | None], bool], ...],
) -> None:
    """Killed while it copies or once it has everything; then it runs to its end and is swapped in.

    `make test-deep` kills rebuilds of every read model at each of the three moments.
    """
    rollbook.start_handler()
    projector = rollbook.start_projector(name)
    RunningImport(rollbook, USERS, pace=USERS).wait()
    wait_caught_up(settings, name)
    with closing(open_versions(settings, name)) as versions:
        for moment in moments:
            rebuild = rollbook.start("projector", "rebuild", name, "--processes", "2")
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
        assert live_versions(versions) == [number]
        for version in versions.versions():
            if not version.live:
                rest = ("drop", name, str(version.number), "--yes")
                assert rollbook.run("projector", *rest).returncode == 0
    wait_caught_up(settings, name)
    assert projector.stop() == 0
