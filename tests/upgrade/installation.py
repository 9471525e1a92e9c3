"""Installs the release that `released` names, from this checkout's history, beside this tree."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from shutil import which

from scripts.stack.places import cache_directory, filled_once

ROOT = Path(__file__).parents[2]
RELEASED = Path(__file__).with_name("released")
# They would make uv install into this tree's environment, or take other versions.
_NOT_PASSED = ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON")


def released_commit() -> str:
    """Return the full hash of the commit to upgrade from."""
    return RELEASED.read_text("ascii").strip()


def missing_history(commit: str) -> str | None:
    """Return why this checkout cannot have `commit`, None if it has it.

    Raises AssertionError if it has a history without that commit: the name must be wrong.
    """
    # Not the history of a repository around an unpacked archive.
    if not (ROOT / ".git").exists() or which("git") is None:
        return "this is no clone"
    if _git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0:
        return None
    if _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
        return "this is a shallow clone"
    if _git("rev-list", "--count", "HEAD").stdout.strip() == b"1":
        return "this is a clone of a single commit"
    raise AssertionError(f"{RELEASED.name} names {commit}, which this history does not have")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    # Otherwise git refuses a checkout that belongs to another user, as in a container.
    command = ["git", "-c", f"safe.directory={ROOT}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False)


def install(commit: str) -> Path:
    """Return the folder of the programs of release `commit`: `rollbook` and `python`.

    It is installed once, outside the checkout, with the packages of its own lock file.
    """
    python = sysconfig.get_python_version()
    folder = cache_directory(None) / "releases" / f"{commit}-python{python}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return filled_once(folder, lambda partial: _install(commit, partial)) / ".venv" / "bin"


def _install(commit: str, folder: Path) -> None:
    archive = _git("archive", "--format=tar", commit)
    archive.check_returncode()
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    environment = {name: v for name, v in os.environ.items() if name not in _NOT_PASSED}
    uv = which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    for command in (
        # The folder is renamed when it is complete.
        ["venv", "--relocatable", "--python", sys.executable, ".venv"],
        ["sync", "--frozen", "--no-dev", "--no-editable", "--compile-bytecode"],
    ):
        subprocess.run([uv, "--quiet", *command], cwd=folder, env=environment, check=True)
