"""The pages are correct as far as that needs no server: links, paths, commands, marked blocks."""

import re

import pytest

from docsgen.command_page import leaves
from docsgen.pages import NOT_RUN, Page, broken_links, missing_paths, pages
from tests.integration.docs.run_blocks import RUN

PAGES = pages()
WIDTH = 100


def ids(page: Page) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page: Page) -> None:
    """Files and headings exist; an external address at least has the form of one."""
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_path_exists(page: Page) -> None:
    """A page must name the present path of a file that was moved."""
    assert missing_paths(page) == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_command_in_the_text_exists(page: Page) -> None:
    """The command and its options, wherever a sentence names them."""
    if page.name == "CHANGELOG.md":
        pytest.skip("it names commands of earlier releases")
    commands = {leaf.path: leaf.command for leaf in leaves()}
    for span in page.spans:
        call = re.match(r"rollbook((?: [a-z][a-z-]*)+)(.*)", span)
        if call is None:
            continue
        words = ["rollbook", *call[1].split()]
        path = next((p for n in (3, 2) if (p := " ".join(words[:n])) in commands), None)
        group = any(known.startswith(f"{' '.join(words)} ") for known in commands)
        assert path or group, span
        options = (
            {name for param in commands[path].params for name in param.opts} if path else set()
        )
        assert set(re.findall(r"(?<!\S)--[a-z-]+", call[2])) <= options | {"--help"}, span


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_block_is_run_or_marked(page: Page) -> None:
    """A block with commands or code is run by a test, or the page says that it is not."""
    assert page.text.count("```") == 2 * len(page.blocks)
    for block in page.blocks:
        where = f"{page.name}:{block.line}"
        assert block.language, f"{where} names no language"
        run = block.language in RUN.get(page.name, ())
        assert not (run and block.is_marked), f"{where} is run, so it must not be marked"
        assert run or block.is_marked or not block.has_code, f"{where} is neither run nor marked"
        if not block.has_code and not block.is_marked:
            assert not re.search(r"^\s*(\$|make|rollbook) ", block.text, re.MULTILINE), where


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_lines_fit_a_screen(page: Page) -> None:
    """Diagrams and code are at most 100 columns wide."""
    if not page.name.startswith("docs/reference/"):
        for block in page.blocks:
            assert max(map(len, block.text.splitlines()), default=0) <= WIDTH, block.line


def test_every_decision_has_its_number_and_its_parts() -> None:
    """One number each, which the title repeats; context, decision and consequences."""
    found = [page for page in PAGES if re.match(r"docs/decisions/\d{4}-", page.name)]
    numbers = [page.name.split("/")[-1][:4] for page in found]
    assert len(set(numbers)) == len(numbers)
    for number, page in zip(numbers, found, strict=True):
        assert page.text.startswith(f"# {number} "), page.name
        assert {"context", "decision", "consequences"} <= page.anchors, page.name


def test_the_checks_can_fail() -> None:
    page = Page(
        "docs/x.md",
        "# A b, c\n[a](missing.md) [b](glossary.md#nothing) [c](#a-b-c) [d](http://h.example/p)\n"
        f"`producers/none.py` `schemas/{{errors,none}}.py`\n\n```sh\nls\n```\n\n{NOT_RUN}\n"
        "```sh\nls\n```\n",
    )
    assert broken_links(page) == ["missing.md", "glossary.md#nothing"]
    assert missing_paths(page) == ["producers/none.py", "schemas/none.py"]
    assert [block.is_marked for block in page.blocks] == [False, True]
    assert page.anchors == {"a-b-c"}
