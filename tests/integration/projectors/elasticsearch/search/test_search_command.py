"""`rollbook users search | suggest` on a real index that the projector filled."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.stack.native.local import LocalStack
from tests.integration.projectors.elasticsearch.search.search_index import Index
from tests.integration.projectors.elasticsearch.search.searched import names
from tests.started.processes import Rollbook


@pytest.fixture
def command(index: Index, stack: LocalStack, tmp_path: Path) -> Rollbook:
    """The `rollbook` command with the settings of the index."""
    return Rollbook(index.settings, stack.config_file, tmp_path)


def lines(text: str) -> list[Any]:
    """Return the values of NDJSON."""
    return [json.loads(line) for line in text.splitlines()]


def test_the_command_pages_and_streams(command: Rollbook) -> None:
    """Every line has the cursor, stderr shows it to people; --all needs none."""
    ask = ("users", "search", "--sort", "age", "--json")
    first = command.run(*ask, "--limit", "6")
    users = lines(first.stdout)
    assert f"--cursor {users[0]['cursor']}, or --all" in first.stderr
    rest = lines(command.run(*ask, "--limit", "6", "--cursor", users[-1]["cursor"]).stdout)
    assert "cursor" not in rest[0]
    everybody = lines(command.run(*ask, "--all").stdout)
    assert names(users) + names(rest) == names(everybody)
    assert everybody[0]["created_at"].endswith("Z")


def test_the_command_shows_facets_and_highlights(command: Rollbook) -> None:
    """As JSON and as tables."""
    options = ("users", "search", "jürgen", "--facets", "--highlight")
    jurgen, other, counted = lines(command.run(*options, "--json").stdout)
    assert jurgen["highlights"] == {"name": "<em>Jürgen</em> Weiß"}
    assert other["name"] == "Jurgen Weisz"
    assert counted["facets"]["age_groups"] == {"senior": 1, "teen": 1}
    shown = command.run(*options).stdout
    assert "Jürgen Weiß" in shown
    assert "age group\tsenior\t1" in shown


def test_the_command_suggests(command: Rollbook) -> None:
    """Every argument is one word of the prefix."""
    assert names(lines(command.run("users", "suggest", "sm", "ja", "--json").stdout)) == [
        "Jane Smith"
    ]
    nobody = command.run("users", "suggest", "nobody")
    assert (nobody.returncode, nobody.stdout, nobody.stderr) == (0, "", "no users found\n")
