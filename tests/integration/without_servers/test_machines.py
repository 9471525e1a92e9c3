"""Commands on unusual machines: one sentence and an exit code, never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.started.processes import ROLLBOOK

NO_USER = 54_321
# Root may read and write everything, and is the only one who can become another user.
AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can run a command as another user")
FULL = Path("/dev/full")


def run(
    *arguments: str | bytes,
    output: Path | None = None,
    errors: Path | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[bytes]:
    """Run `rollbook` in this environment alone."""
    kept = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment}
    with (
        (output or Path(os.devnull)).open("wb") as stdout,
        (errors or Path(os.devnull)).open("wb") as stderr,
    ):
        return subprocess.run(
            [ROLLBOOK, *arguments],
            env={name: value for name, value in kept.items() if value},
            stdin=subprocess.DEVNULL,
            stdout=stdout if output else subprocess.PIPE,
            stderr=stderr if errors else subprocess.PIPE,
            timeout=60,
            check=False,
        )


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "arguments", [("--help",), ("config", "show"), ("config", "show", "--json")]
)
def test_a_full_disk_is_one_sentence(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, output=FULL)
    assert done.returncode == 1
    assert b"cannot write the output: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_errors_that_cannot_be_written_do_not_change_the_exit_code() -> None:
    assert run("users", "get", "x", errors=FULL).returncode == 2
    assert run("--config", "missing", "config", "show", errors=FULL).returncode == 2


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    """It is shown escaped, also in JSON and in an encoding that lacks it."""
    file = os.fsencode(tmp_path) + b"/\xff\xc3\xa9.csv"
    Path(os.fsdecode(file)).write_bytes(b"email,name,age\na@example.com,A,x\n")
    done = run("users", "import", file, "--dry-run", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["rejects_file"].endswith(".csv.rejects.ndjson")
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = run("users", "import", file, "--dry-run", PYTHONIOENCODING=encoding)
        assert done.returncode == 3, done.stderr
        assert b"Traceback" not in done.stderr


def test_an_output_that_cannot_show_a_character_escapes_it(tmp_path: Path) -> None:
    """The bootstrap servers here are an example of any text."""
    servers = "b\u0142\u0105d:9092"
    done = run(
        "config", "show", PYTHONIOENCODING="latin-1", ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS=servers
    )
    assert done.returncode == 0, done.stderr
    assert rb"b\u0142\u0105d:9092" in done.stdout


_AS_NOBODY = f"""
import os, sys
import producers.cli.handler, producers.handler.start, runtime.command_line.cli, runtime.process
import runtime.processes, scripts.cli
os.setgroups([]), os.setgid({NO_USER}), os.setuid({NO_USER})
scripts.cli.main(sys.argv[1:])
"""


def as_nobody(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `rollbook` as a user that the system does not know.

    It changes the user after its imports, because that user may not read this checkout.
    """
    return subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


SHOW = ("config", "show")
RUN = ("handler", "run", "--instance", "a")


@needs_root
def test_an_unknown_user_without_a_home() -> None:
    """What needs no home works; what does names the setting."""
    assert as_nobody(*SHOW).returncode == 0
    done = as_nobody(*RUN)
    assert done.returncode == 2
    assert "has no home directory" in done.stderr
    assert "state_directory" in done.stderr


@needs_root
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_home_of_another_user(tmp_path: Path, mode: int) -> None:
    """One that may not be entered, and one that may not be written to."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    assert as_nobody(*SHOW, HOME=str(home)).returncode == 0
    done = as_nobody(*RUN, HOME=str(home))
    assert done.returncode == 2
    assert "cannot write the lock file" in done.stderr
    assert "Traceback" not in done.stderr
