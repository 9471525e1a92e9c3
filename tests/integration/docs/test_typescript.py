"""The client in TypeScript on docs/http.md is generated, compiles and does what the page says."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from docsgen.pages import Page, page
from scripts.stack.places import cache_directory
from tests.depth import DEEP
from tests.integration.docs.run_blocks import assert_prints
from tests.integration.docs.test_http_page import ADDRESSES, PAGE
from tests.started.processes import Rollbook, RunningProcess
from tests.started.services import Service

# package.json and package-lock.json, which pins what the packages need as well.
PINNED: Final = Path(__file__).with_name("typescript")
PROGRAM: Final = "users.mts"
OLDEST_NODE: Final = 20
# What npm says of the files in PINNED; any other failure is the registry's.
_WRONG_FILES: Final = ("EUSAGE", "EINTEGRITY", "EJSONPARSE")
_INSTALL_SECONDS: Final = 120
_NO_REGISTRY: Final = "the client in TypeScript was not tested: npm could not install its packages"


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder of the installed packages; it comes before the servers, which may not be needed.

    It is kept for the next run, and installed again when the lock file changes.
    """
    if not node_is_usable():
        pytest.skip(f"the client in TypeScript was not tested: install Node {OLDEST_NODE} and npm")
    lock = (PINNED / "package-lock.json").read_bytes()
    kept = cache_directory(None) / f"typescript-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not kept.exists():
        install(kept)
    return kept / "node_modules"


@pytest.mark.skipif(not DEEP, reason="takes half a minute; `make test-deep` runs it")
def test_the_client_in_typescript_does_what_the_page_says(
    packages: Path, rollbook: Rollbook, projector: RunningProcess, tmp_path: Path
) -> None:
    """Against real services: the program creates a user, and reads it with the token."""
    rollbook.start_handler()
    folder = tmp_path / "typescript"
    folder.mkdir()
    (folder / "node_modules").symlink_to(packages)
    printed = ""
    for block in served_page(rollbook).blocks:
        if block.is_marked:
            continue
        if block.language == "ts":
            (folder / PROGRAM).write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            printed = run_lines(block.text, folder)
        elif block.language == "text":
            assert_prints(printed, block.text)
    assert printed


def test_the_page_installs_the_versions_that_are_tested() -> None:
    pinned = json.loads((PINNED / "package.json").read_bytes())
    wanted = pinned["dependencies"] | pinned["devDependencies"]
    lines = re.findall(r"^npm install (.+)$", page(PAGE).text, re.MULTILINE)
    named = {word for line in lines for word in line.split() if not word.startswith("--")}
    assert named == {f"{name}@{version}" for name, version in wanted.items()}


def node_is_usable() -> bool:
    """Return whether npm and a recent Node are installed."""
    node = shutil.which("node")
    if not (node and shutil.which("npm")):
        return False
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.", done.stdout)
    return found is not None and int(found[1]) >= OLDEST_NODE


def install(kept: Path) -> None:
    """Install the pinned packages in folder `kept`; skip the tests if the registry has none.

    Other runs may be doing the same: whichever ends first gives the folder its name.
    """
    new = kept.with_name(f"{kept.name}.{uuid.uuid4().hex}")
    shutil.copytree(PINNED, new)
    try:
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"],
            cwd=new,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
        if done.returncode:
            assert not any(code in done.stderr for code in _WRONG_FILES), done.stderr
            pytest.skip(f"{_NO_REGISTRY}: {done.stderr.splitlines()[0]}")
        if not kept.exists():
            new.rename(kept)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{_NO_REGISTRY} within {_INSTALL_SECONDS} s")
    finally:
        shutil.rmtree(new, ignore_errors=True)


def served_page(rollbook: Rollbook) -> Page:
    """Return the page with the addresses of services that this starts."""
    text = page(PAGE).text
    for options, address in ADDRESSES:
        service = Service(rollbook, *options)
        service.http.close()
        text = text.replace(f"http://{address}", service.url)
    return replace(page(PAGE), text=text)


def run_lines(text: str, folder: Path) -> str:
    """Run the commands of a block; return what they print.

    Programs run without `npx`, which takes a second each time to find them in the same folder.
    """
    programs = folder / "node_modules" / ".bin"
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    script = re.sub(r"^npm install .*\n", "", text, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-e", "-c", re.sub(r"^npx ", "", script, flags=re.MULTILINE)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
