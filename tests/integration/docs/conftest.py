"""A folder in which a reader tries the pages, with everything running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.settings import Settings
from scripts.bench.workload.stores import remove_read_models
from tests.integration.docs.run_blocks import Project
from tests.started.processes import Rollbook, RunningProcess

PROJECTORS = ("postgres", "elasticsearch", "history")


@pytest.fixture
def project(
    rollbook: Rollbook, handler: RunningProcess, settings: Settings, tmp_path: Path
) -> Iterator[Project]:
    """A folder in which everything runs that `rollbook up` starts."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in PROJECTORS:
        rollbook.start_projector(name)
    yield Project(rollbook, folder)
    rollbook.stop_all()
    remove_read_models(settings)
