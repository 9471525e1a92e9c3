"""Generated files are current, and what they are generated from is complete."""

import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest

from docsgen.command_page import Leaf, examples, leaves
from docsgen.generated import FILES, ROOT
from runtime.settings import Settings
from schemas.topics import TOPICS

USER_ID = "018bcfe5-6800-7abc-8000-000000000000"


@pytest.mark.parametrize("name", FILES)
def test_a_generated_file_is_current(name: str) -> None:
    """If this fails, run `.venv/bin/python -m docsgen` and commit the result."""
    current = FILES[name]() == (ROOT / name).read_text(encoding="utf-8")
    assert current, f"{name} is out of date: run `.venv/bin/python -m docsgen`"


def test_the_references_name_everything() -> None:
    """Each command, setting and topic has an anchor to link to."""
    commands, settings, topics = (
        (ROOT / f"docs/reference/{name}.md").read_text("utf-8")
        for name in ("commands", "settings", "topics")
    )
    for leaf in leaves():
        assert f"{leaf.path} " in commands
        for option in leaf.command.params:
            assert not isinstance(option, click.Option) or option.opts[0] in commands
    for setting in fields(Settings):
        assert f"`ROLLBOOK_{setting.name.upper()}`" in settings
    for topic in TOPICS:
        assert f"## {topic.name}\n" in topics
        assert all(option.reason for option in topic.options.values())


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.path)
def test_every_example_parses(leaf: Leaf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("people.csv", "people.ndjson.gz"):
        (tmp_path / name).touch()
    words = leaf.path.split()
    calls = [call for call in _calls(examples(leaf.command)) if call[: len(words)] == words]
    assert calls
    for call in calls:
        leaf.command.make_context(leaf.path, call[len(words) :], parent=leaf.context.parent)


def _calls(lines: list[str]) -> list[list[str]]:
    """Return the words of each call of rollbook; text after two spaces in a line is left out."""
    text = "\n".join(line.strip().partition("  ")[0] for line in lines).replace("|\n", "| ")
    commands = [
        part for line in text.splitlines() for part in line.partition(" > ")[0].split(" | ")
    ]
    words = [shlex.split(command.replace(" ID", f" {USER_ID}")) for command in commands]
    return [call[call.index("rollbook") :] for call in words if "rollbook" in call]
