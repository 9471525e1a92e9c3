"""Shows `rollbook` commands as people type them, and runs them: the demo's lines can be pasted."""

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import click

from schemas.errors import CheckFailed


@dataclass(frozen=True, slots=True)
class Narrator:
    """Shows a command, runs it, and checks its exit code.

    `executable` is the path of the program; `shown_as` is what people would type here.
    """

    executable: str
    shown_as: str

    def explain(self, text: str) -> None:
        """Print a paragraph."""
        click.echo(f"\n{click.style(text, bold=True)}")

    def run(self, *arguments: str, ends_with: int = 0) -> None:
        """Run `rollbook …` on this terminal.

        Raises `CheckFailed` if its exit code is not `ends_with`.
        """
        line = self._show(arguments)
        ended = subprocess.run([self.executable, *arguments], check=False).returncode
        self._require(line, ended, ends_with)

    def read(self, *arguments: str) -> str:
        """Run `rollbook …`, show its output and return it."""
        line = self._show(arguments)
        done = subprocess.run(
            [self.executable, *arguments],
            check=False,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        click.echo(done.stdout, nl=False)
        self._require(line, done.returncode, 0)
        return done.stdout

    def _show(self, arguments: tuple[str, ...]) -> str:
        line = f"{self.shown_as} {shlex.join(arguments)}"
        click.echo(click.style(f"$ {line}", fg="cyan"))
        return line

    def _require(self, line: str, ended: int, ends_with: int) -> None:
        if ended != ends_with:
            raise CheckFailed(
                f"`{line}` ended with exit code {ended} instead of {ends_with}",
                code="demo_failed",
                next_step=f"`{self.shown_as} status` shows what runs and where the logs are",
            )


def call_as(program: Path) -> str:
    """Return what a user would type to run `program`: its name if on PATH, else its path."""
    found = shutil.which(program.name)
    if found and Path(found).resolve() == program.resolve():
        return program.name
    relative = os.path.relpath(program)
    return str(program) if relative.startswith("..") else shlex.quote(relative)
