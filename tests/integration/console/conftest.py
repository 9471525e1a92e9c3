"""The services, the console and a browser that is signed in: one registry for all tests of a file.

Starting a handler, three projectors, three services and a browser takes longer than any test here.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from projectors.catalog import OURS
from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from scripts.stack.native.local import LocalStack
from scripts.stack.secure.services import prepare_read_models
from tests.conftest import own_registry, rollbook_on
from tests.integration.console.browser import Browser, chromium
from tests.started.processes import Rollbook, RunningProcess
from tests.started.roles import SECURE

ADDRESS = r"listening at (http://\S+)"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="module")
def settings(stack: LocalStack, directory: Path) -> Iterator[Settings]:
    with own_registry(stack, directory) as settings:
        ensure_topics(settings)
        if SECURE:
            prepare_read_models(settings)
        yield settings


@pytest.fixture(scope="module")
def rollbook(settings: Settings, stack: LocalStack, directory: Path) -> Iterator[Rollbook]:
    rollbook = rollbook_on(stack, settings, directory)
    try:
        yield rollbook
    finally:
        rollbook.stop_all()
        sys.stdout.write(rollbook.last_output())


@pytest.fixture(scope="module")
def key(rollbook: Rollbook, directory: Path) -> str:
    """A key with every scope, which all services ask for from now on."""
    rollbook.overrides["ROLLBOOK_HTTP_KEYS_FILE"] = str(directory / "keys.json")
    scopes = ("commands", "queries", "erase", "operate")
    made = rollbook.json("keys", "create", "anna", *(f"--scope={scope}" for scope in scopes))
    text: str = made["key"]
    return text


@pytest.fixture(scope="module")
def console(rollbook: Rollbook, key: str) -> tuple[RunningProcess, str]:
    """The console and its address, with everything that it shows, also who changed what."""
    rollbook.start_handler()
    for name in OURS:
        rollbook.start_projector(name)
    assert rollbook.run("upgrade", "finalise", "--yes").returncode == 0
    for service, *options in (("commands",), ("queries", "--operations")):
        _, url = serve(rollbook, service, *options)
        rollbook.overrides[f"ROLLBOOK_HTTP_{service.upper()}_URL"] = url
    return serve(rollbook, "console")


def serve(rollbook: Rollbook, service: str, *options: str) -> tuple[RunningProcess, str]:
    """Start a service on a free port; return it and its address."""
    process = rollbook.start("serve", service, *options, "--listen", "127.0.0.1:0")
    process.wait_for_match(ADDRESS)
    found = re.search(ADDRESS, process.text())
    assert found
    return process, found[1]


@pytest.fixture
def browser(console: tuple[RunningProcess, str], key: str) -> Iterator[Browser]:
    """A browser that is signed in; at the end, nothing may be in its console."""
    with chromium(console[1]) as opened:
        opened.open("/log")
        opened.type("#key", key)
        opened.click("button", "Sign in")
        opened.find("h1", "Log")
        yield opened
        assert opened.messages() == []
