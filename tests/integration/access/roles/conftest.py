"""`rollbook` on the secure stack with the login of each role."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.settings import load_settings
from scripts.stack.native.local import LocalStack
from tests.conftest import PARTITIONS
from tests.started.processes import Rollbook

# The services' own keys and certificate have tests of their own.
_OPEN = {f"ROLLBOOK_HTTP_{name}": "" for name in ("KEYS_FILE", "TLS_CERTIFICATE", "TLS_KEY")}


@pytest.fixture
def as_role(
    role_files: dict[str, Path], secure_stack: LocalStack, tmp_path: Path
) -> Iterator[dict[str, Rollbook]]:
    """Role → `rollbook` with its login; `administrator` may do everything. Nothing exists yet."""
    files = role_files | {"administrator": secure_stack.directory / "admin.toml"}
    found = {}
    for role, file in files.items():
        settings = load_settings(config=str(file)).settings
        prefix = load_settings(config=str(role_files["client"])).settings.prefix
        directory = tmp_path / role
        directory.mkdir()
        settings = replace(settings, prefix=prefix, partitions=PARTITIONS)
        found[role] = Rollbook(settings, file, directory, overrides=dict(_OPEN))
    try:
        yield found
    finally:
        for rollbook in found.values():
            rollbook.stop_all()
            sys.stdout.write(rollbook.last_output())


@pytest.fixture
def deployed(as_role: dict[str, Rollbook]) -> dict[str, Rollbook]:
    """The same once the operator has created topics, schemas, tables and indexes."""
    for command in (("topics", "ensure"), ("projector", "prepare")):
        done = as_role["operator"].run(*command)
        assert done.returncode == 0, done.stderr
    return as_role
