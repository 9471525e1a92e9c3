"""What the tests of this folder share."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MEMORY = "/dev/shm"  # noqa: S108 - only where it is looked for; nothing has a name known before


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays: it took a tenth of the processor time."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture(scope="module", autouse=True)
def no_local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads the settings of a stack that `rollbook up` or the demo left running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def quick_directory() -> Iterator[Path]:
    """A directory in memory where there is one: waiting for a disk would take most of the time."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(dir=place) as directory:
        yield Path(directory)
