"""Another registry to restore into, and a folder for the backup."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack.native.local import LocalStack
from tests.conftest import own_registry
from tests.started.processes import Rollbook


@pytest.fixture
def target(stack: LocalStack, tmp_path: Path) -> Iterator[Rollbook]:
    """Another registry, without topics, to restore into; its processes end with the test."""
    folder = tmp_path / "target"
    folder.mkdir()
    with own_registry(stack, folder) as settings:
        rollbook = Rollbook(settings, stack.config_file, folder)
        try:
            yield rollbook
        finally:
            rollbook.stop_all()
            print(rollbook.last_output())  # noqa: T201 - pytest shows it if the test failed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"
