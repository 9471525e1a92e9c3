"""Runs the blocks of a page as a reader would, and compares what they print with the page.

A `console` block has commands behind `$ ` and what they print. A `python` block is a program; what
it prints is in comments after its `print` calls. A `…` on the page matches any text.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from docsgen.pages import ROOT, Page
from tests.started.processes import Rollbook, RunningProcess

# The languages of the blocks that tests run or compare, by page. All other blocks with commands or
# code must be marked as not run.
RUN: Final = {
    "README.md": ("console", "python"),
    "docs/http.md": ("console", "bash", "ts"),
    "docs/searching.md": ("http", "sh", "python"),
    "docs/versions.md": ("console",),
    "docs/your-own-read-model.md": ("python", "console", "diff"),
}
_DIFFERENT: Final = {
    # Progress is shown every 5 s: on a fast machine never.
    r"(?m)^.*, [\d,]+( \w+)?/s(, \d+ s left)?\n": "",
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": "ID",
    r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?": "TIME",
    r"\b\d+:\d+\b": "TOKEN",
    r"\b(seconds|events_per_second)\s+[\d.]+": r"\1 N",
    r"\b\d[\d,]*(\.\d+)?(?= (ms|s|minutes?)\b)": "N",
}


@dataclass
class Project:
    """A reader's folder with the examples in it, which Python finds before ours."""

    rollbook: Rollbook
    folder: Path
    running: list[RunningProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "tests" / "examples", self.folder / "tests" / "examples")
        shutil.copy(ROOT / "tests" / "__init__.py", self.folder / "tests")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.rollbook.overrides |= {"PYTHONPATH": str(self.folder), "PATH": path}

    def run_page(self, page: Page) -> None:
        """Run the blocks of a page that are not marked, in order, and compare what they print."""
        for block in page.blocks:
            if block.is_marked:
                continue
            if block.language == "console":
                for command, expected in commands(block.text):
                    assert_prints(self.execute(command), expected)
            elif block.language == "diff":
                self.patch(block.text)
            elif block.language == "python" and page.name == "README.md":
                program = self.folder / "program.py"
                program.write_text(block.text, encoding="utf-8")
                assert_prints(self.execute(f"python {program}"), printed_by(block.text))

    def execute(self, command: str) -> str:
        """Do what a line of the page does in a shell; return all that it prints."""
        words = command.split()
        if words[0] == "export" or re.match(r"[A-Z]+=", words[0]):
            name, _, value = command.removeprefix("export ").partition("=")
            self.rollbook.overrides[name] = self._output(f"printf %s {value}")
            return ""
        if words[0] == "kill":
            assert self.running.pop().stop() == 0
            return ""
        if words[-1] == "&":
            self.running.append(self.rollbook.start(*words[1:-1]))
            self.running[-1].wait_for("assigned: partitions")
            return ""
        return self._output(command)

    def patch(self, changes: str) -> None:
        """Change a file as a `diff` of the page says."""
        first, *lines = changes.splitlines()
        file = self.folder / first.removeprefix("--- ")
        before = "\n".join(line[1:] for line in lines if line[0] in " -")
        after = "\n".join(line[1:] for line in lines if line[0] in " +")
        text = file.read_text(encoding="utf-8")
        assert text.count(before) == 1, before
        file.write_text(text.replace(before, after), encoding="utf-8")

    def _output(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.rollbook.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        # A rejection is a result; any other error is a failure of the page.
        assert done.returncode in {0, 3}, f"{command}\n{done.stdout}"
        return done.stdout


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a block, each with what the page says that it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = f"{command[:-1]}{more}"
        yield command, expected


def printed_by(program: str) -> str:
    """Return what a program should print according to the comments after its `print` calls."""
    return "\n".join(re.findall(r"^\s*print\(.*\)  # (.+)$", program, re.MULTILINE))


def assert_prints(printed: str, expected: str) -> None:
    """Fail unless they are the same, apart from a `…` and from what differs in every run.

    That is white space, ids, times, tokens, durations and lines of progress.
    """
    pattern = re.escape(plain(expected)).replace("…", ".*")
    assert re.fullmatch(pattern, plain(printed), re.DOTALL), f"{expected}\nis not\n{printed}"


def plain(text: str) -> str:
    """Return `text` with each run of white space in a line as one space, ids and times by name."""
    for pattern, name in _DIFFERENT.items():
        text = re.sub(pattern, name, text)
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
