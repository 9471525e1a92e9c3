"""The commands and programs on the README and on docs/versions.md do what the pages say."""

import pytest

from docsgen.pages import page
from tests.integration.docs.run_blocks import Project, assert_prints, commands, printed_by


@pytest.mark.parametrize("name", ["README.md", "docs/versions.md"])
def test_the_blocks_of_the_page_do_what_it_says(name: str, project: Project) -> None:
    if name == "docs/versions.md":
        project.execute(
            "rollbook users create --email a@example.com --name A --age 1 --wait postgres"
        )
    project.run_page(page(name))


def test_commands_and_their_output_are_told_apart() -> None:
    """A command may continue on the next line; the rest is what it prints."""
    assert list(commands("$ a \\\n    b\nc\nd\n$ e\n")) == [("a     b", "c\nd\n"), ("e", "")]
    assert printed_by("x = 1\nprint(x)  # 1\n") == "1"


def test_the_comparison_can_fail() -> None:
    assert_prints("a  1\nb\t2\nc\n", "a 1\n…\nc")
    assert_prints("comparing with the log: 1 events, 0/s, 1 s left\na\n", "a\n")
    for wrong in ("a 1\nb 2\n", "a 2\n…\nc", "…\nb 2"):
        with pytest.raises(AssertionError):
            assert_prints("a  1\nb\t2\nc\n", wrong)
