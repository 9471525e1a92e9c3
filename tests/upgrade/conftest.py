"""The commands of both releases, with the same settings."""

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.settings import Settings
from tests.started.processes import Rollbook
from tests.upgrade.installation import install, missing_history, released_commit


@pytest.fixture(scope="session")
def released_programs() -> Path:
    """The folder of the released release's `rollbook` and `python`."""
    commit = released_commit()
    missing = missing_history(commit)
    if missing:
        pytest.skip(f"{missing}: the release to upgrade from, {commit[:12]}, cannot be built")
    return install(commit)


@pytest.fixture
def old(rollbook: Rollbook, released_programs: Path) -> Rollbook:
    """The released release's command, with the same settings as `rollbook`."""
    return replace(rollbook, installed=str(released_programs / "rollbook"))


@pytest.fixture
def settings(empty: Settings) -> Settings:
    """The settings of this test, without topics: the released release makes them."""
    return empty
