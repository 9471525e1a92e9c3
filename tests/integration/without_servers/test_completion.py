"""Completion as a shell asks for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.completion import VARIABLE
from tests.unit.scripts.test_cli import HEAVY

PROGRAM = Path(sys.executable).with_name("rollbook")
ENVIRONMENT = {**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}


def complete(*words: str) -> list[str]:
    """Return what bash offers for `words` when the cursor is at the end of the last one."""
    script = (
        'eval "$(rollbook completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        ' _rollbook_completion rollbook; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["us"], ["users"]),
        (["st"], ["stack", "status"]),
        (["users", "sug"], ["suggest"]),
        (["users", "search", "--age-group", "te"], ["teen"]),
        (["projector", "swap", "el"], ["elasticsearch"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["users", "create", "--na"], ["--name"]),
        (["--ver"], ["--version"]),
    ],
)
def test_bash_completes_commands_options_and_values(words: list[str], offered: list[str]) -> None:
    """After `eval "$(rollbook completion bash)"`, the tab key offers what can follow."""
    assert complete("rollbook", *words) == offered


def test_completing_a_command_imports_no_client() -> None:
    """Pressing tab for a command's name answers as fast as `--help`."""
    script = (
        "import sys\n"
        "from scripts.cli import run\n"
        "try:\n    run([])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"assert not {HEAVY} & set(sys.modules), sys.modules\n"
    )
    for words in ("rollbook ", "rollbook users "):
        instruction = {VARIABLE: "bash_complete", "COMP_WORDS": words}
        instruction["COMP_CWORD"] = str(words.count(" "))
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**ENVIRONMENT, **instruction},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "plain," in done.stdout


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes_commands() -> None:
    script = 'rollbook completion fish | source; complete --do-complete "rollbook us"'
    done = subprocess.run(
        ["fish", "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    # Click's script shows a description up to its first comma.
    assert line.startswith("users\t")


def test_zsh_accepts_its_script() -> None:
    """The script calls `rollbook`, and is valid where zsh is installed."""
    done = subprocess.run(
        [PROGRAM, "completion", "zsh"], capture_output=True, text=True, check=True
    )
    assert f"{VARIABLE}=zsh_complete rollbook" in done.stdout
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-n", "-c", done.stdout], check=True)
