"""docs/your-own-read-model.md is true: its code is the example's, its commands do what it says."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.settings import Settings
from tests.integration.forged_log import ForgedLog
from tests.processes import Rollbook, RunningProcess, eventually

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "your-own-read-model.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS: list[tuple[str, str]] = BLOCK.findall(PAGE)
SOURCES = (
    "tests/examples/domains.py",
    "tests/examples/users_per_domain.py",
    "tests/unit/projectors/contract/test_domains.py",
)
NAMED = "domains=tests.examples.domains:DomainVersions"


@dataclass
class Project:
    """Somebody's folder with the example in it, which Python finds before ours."""

    rollbook: Rollbook
    folder: Path
    running: list[RunningProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "tests" / "examples", self.folder / "tests" / "examples")
        shutil.copy(ROOT / "tests" / "__init__.py", self.folder / "tests")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.rollbook.overrides |= {"PYTHONPATH": str(self.folder), "PATH": path}

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
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout


@pytest.fixture
def project(rollbook: Rollbook, tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(rollbook, folder)


def test_the_commands_of_the_page_do_what_it_says(
    project: Project, handler: RunningProcess
) -> None:
    """In its order, its changes of the code between them."""
    for language, text in BLOCKS:
        if language == "diff":
            project.patch(text)
        elif language == "console":
            for command, expected in commands(text):
                assert_prints(project.execute(command), expected)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a block, each with what the page says that it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def assert_prints(printed: str, expected: str) -> None:
    """Fail unless they are the same but for white space, and for what is left open by an …."""
    pattern = re.escape(_plain(expected)).replace("…", ".*")
    assert re.fullmatch(pattern, _plain(printed), re.DOTALL), f"{expected}\nis not\n{printed}"


def _plain(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


def test_the_code_of_the_page_is_the_examples() -> None:
    """Word for word; a page that drifts would teach what does not work."""
    sources = [(ROOT / name).read_text(encoding="utf-8") for name in SOURCES]
    found = [text for language, text in BLOCKS if language == "python"]
    assert len(found) >= 7
    for text in found:
        assert any(text in source for source in sources), text
    assert {language for language, _ in BLOCKS} == {"python", "console", "diff"}
    assert PAGE.count("```") == 2 * len(BLOCKS)
    for link in re.findall(r"\]\((\S+)\)", BLOCK.sub("", PAGE)):
        assert (ROOT / "docs" / link).is_file(), link


def test_the_comparison_can_fail() -> None:
    assert_prints("a  1\nb\t2\nc\n", "a 1\n…\nc")
    for wrong in ("a 1\nb 2\n", "a 2\n…\nc", "…\nb 2"):
        with pytest.raises(AssertionError):
            assert_prints("a  1\nb\t2\nc\n", wrong)


def test_a_record_that_the_model_refused_is_applied_once_it_is_mended(
    project: Project, settings: Settings
) -> None:
    """Its letter is listed and settled; the users around it were there all the time."""
    log = ForgedLog(settings)
    log.users(0, 5)
    log.users(5, 1, email_key="nobody")
    log.users(6, 4)
    project.execute(f"export ROLLBOOK_READ_MODELS={NAMED}")
    project.execute("rollbook projector run domains &")
    question = "python -m tests.examples.users_per_domain"
    eventually(lambda: "example.com 9" in _plain(project.execute(question)))
    listed = project.execute("rollbook dead-letters list --reader projector:domains")
    assert "no_domain" in listed
    assert "1 dead letter open" in listed
    retry = "rollbook dead-letters retry --all --reader projector:domains"
    assert "1 poisoned" in project.execute(retry + " || true")
    project.patch(
        "--- tests/examples/domains.py\n"
        '     if not at:\n-        raise Poisoned("an address has no domain", code="no_domain")\n'
        '+        return "none"\n'
    )
    assert "1 applied" in project.execute(retry)
    assert_prints(project.execute(question), "domain users\nexample.com 9\nnone 1")
    log.users(5, 1, version=2, email_key="user5@example.com")
    healed = "domain users\nexample.com 10"
    eventually(lambda: _plain(project.execute(question)) == healed)
