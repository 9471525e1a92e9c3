"""The services, the console and a browser that is signed in, on servers of their own prefix."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.console.browser import CHROMEDRIVER, CHROMIUM, Browser, chromium
from tests.processes import Rollbook, RunningProcess

ADDRESS = r"listening at (http://\S+)"


def serve(rollbook: Rollbook, service: str) -> tuple[RunningProcess, str]:
    """Start a service on a free port; return it and its address."""
    process = rollbook.start("serve", service, "--listen", "127.0.0.1:0")
    process.wait_for_match(ADDRESS)
    found = re.search(ADDRESS, process.text())
    assert found
    return process, found[1]


@pytest.fixture
def key(rollbook: Rollbook, tmp_path: Path) -> str:
    """A key with every scope, which all services ask for from now on."""
    rollbook.overrides["ROLLBOOK_HTTP_KEYS_FILE"] = str(tmp_path / "keys.json")
    scopes = ("commands", "queries", "erase", "operate")
    made = rollbook.json("keys", "create", "anna", *(f"--scope={scope}" for scope in scopes))
    text: str = made["key"]
    return text


@pytest.fixture
def console(
    rollbook: Rollbook,
    key: str,
    handler: RunningProcess,
    projectors: dict[str, RunningProcess],
) -> tuple[RunningProcess, str]:
    """The console and its address, with everything that it shows, also who changed what."""
    assert rollbook.run("upgrade", "finalise", "--yes").returncode == 0
    for service in ("commands", "queries"):
        _, url = serve(rollbook, service)
        rollbook.overrides[f"ROLLBOOK_HTTP_{service.upper()}_URL"] = url
    return serve(rollbook, "console")


@pytest.fixture
def browser(console: tuple[RunningProcess, str], key: str) -> Iterator[Browser]:
    """A browser that is signed in; at the end, nothing may be in its console."""
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("the console was not tested in a browser: install chromium and chromium-driver")
    with chromium(console[1]) as opened:
        opened.open("/log")
        opened.type("#key", key)
        opened.click("button", "Sign in")
        opened.find("h1", "Log")
        yield opened
        assert opened.messages() == []
