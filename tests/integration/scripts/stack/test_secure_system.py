"""All of rollbook on a secure stack of its own: what nobody would notice on the plain one."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack.native.local import LocalStack
from tests.conftest import QUICK_JAVA
from tests.depth import DEEP
from tests.started.processes import ROLLBOOK

pytestmark = pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """A stack in a separate folder, which every command finds; removed after the test."""
    for variable in [name for name in os.environ if name.startswith("ROLLBOOK_")]:
        monkeypatch.delenv(variable)
    for options in ("JDK_JAVA_OPTIONS", "ES_JAVA_OPTS"):
        monkeypatch.setenv(options, QUICK_JAVA)
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    monkeypatch.setenv("ROLLBOOK_STACK", "own")
    monkeypatch.chdir(tmp_path)
    own = LocalStack("own")
    yield own
    own.down(wipe=True)


def run(*arguments: str) -> str:
    """Return the output of a command that must succeed."""
    command = [ROLLBOOK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_passes_on_a_secure_stack(own: LocalStack) -> None:
    """Every process has the login of its role, the demo the operator's; none is denied anything."""
    run("up", "--secure", "--free-ports")
    assert "identical, user by user" in run("demo")
    services = own.services()
    assert {one.state for one in services.values()} == {"running"}
    assert {"handler", "commands", "queries", "operations", "console"} <= services.keys()
    logs = [Path(one.log).read_text(encoding="utf-8") for one in services.values()]
    assert not [text for text in logs if "denies access" in text or "is not permitted" in text]
    assert "https://" in run("status")
