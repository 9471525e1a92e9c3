"""Reads the Markdown pages: their headings, links, paths, commands and blocks.

Every block with commands or code is either run by a test or marked as not run, so that no reader
finds out by pasting it. The mark is a line `*(not run by the tests)*` directly above the block, or
the sentence `The blocks on this page are not run by the tests.` anywhere on the page.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
NOT_RUN: Final = "*(not run by the tests)*"
NOT_RUN_PAGE: Final = "blocks on this page are not run by the tests"
# Languages whose blocks hold no commands and no code: diagrams, answers, directives of the site.
SHOWN: Final = ("text", "json", "{toctree}", "{eval-rst}", "{image}")

_BLOCK: Final = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_LINK: Final = re.compile(r"\]\(([^()\s]+(?:\([^()\s]*\))?)\)|(?:src|href|srcset)=\"([^\"]+)\"")
_HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_TOP_LEVEL: Final = (
    r"deploy|docs|docsgen|producers|projectors|runtime|schemas|scripts|tests|benchmarks|\.github"
)
_PATH: Final = re.compile(rf"^(?:{_TOP_LEVEL})/[\w./{{}},*-]*$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `is_marked` says whether the page marks it as not run."""

    language: str
    text: str
    line: int
    is_marked: bool

    @property
    def has_code(self) -> bool:
        """Whether the block has commands or code, so that it must be run or marked."""
        return self.language not in SHOWN


@dataclass(frozen=True)
class Page:
    """A Markdown page of the repository; `name` is its path."""

    name: str
    text: str

    @cached_property
    def blocks(self) -> list[Block]:
        """The fenced blocks, in order."""
        page_is_marked = NOT_RUN_PAGE in " ".join(self.text.split())
        return [
            Block(
                found[2],
                found[3],
                self.text.count("\n", 0, found.start()) + 1,
                page_is_marked or self._line_above(found.start()) == NOT_RUN,
            )
            for found in _BLOCK.finditer(self.text)
        ]

    @cached_property
    def prose(self) -> str:
        """The page without its blocks."""
        return _BLOCK.sub("", self.text)

    @property
    def links(self) -> list[str]:
        """The targets of links and images."""
        outside = _SPAN.sub("", self.prose)
        return [first or second for first, second in _LINK.findall(outside)]

    @property
    def anchors(self) -> set[str]:
        """The anchors that the headings have on GitHub and on the site."""
        return {_slug(heading) for heading in _HEADING.findall(self.prose)}

    @property
    def spans(self) -> list[str]:
        """The texts between single backticks."""
        return _SPAN.findall(self.prose)

    @property
    def paths(self) -> Iterator[str]:
        """Yield the paths in the repository that the prose names, with `{a,b}` written out."""
        for span in self.spans:
            if _PATH.match(span):
                yield from _expanded(span)

    def _line_above(self, position: int) -> str:
        lines = self.text[:position].rstrip().splitlines()
        return lines[-1] if lines else ""


def pages() -> list[Page]:
    """Return every page that people read: those in docs/ and those in the top folder."""
    found = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in found]


def page(name: str) -> Page:
    """Return one page by its path in the repository."""
    return Page(name, (ROOT / name).read_text("utf-8"))


def broken_links(one: Page) -> list[str]:
    """Return the links of a page that lead nowhere; of external links only the form is checked."""
    return [link for link in one.links if not _leads_somewhere(one, link)]


def missing_paths(one: Page) -> list[str]:
    """Return the paths that a page names and the repository does not have."""
    return [path for path in one.paths if not any(ROOT.glob(path.rstrip("/")))]


def _leads_somewhere(one: Page, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[^\s<>]*)?", link) is not None
    path, _, anchor = link.partition("#")
    if not path:
        return anchor in one.anchors
    target = (ROOT / one.name).parent / path
    if not target.exists() or not anchor:
        return target.exists()
    name = target.resolve().relative_to(ROOT).as_posix()
    return target.suffix == ".md" and anchor in page(name).anchors


def _slug(heading: str) -> str:
    """Return GitHub's anchor of a heading."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def _expanded(path: str) -> Iterator[str]:
    choice = re.search(r"\{([^{}]*)\}", path)
    if choice is None:
        yield path
        return
    for one in choice[1].split(","):
        yield from _expanded(path[: choice.start()] + one + path[choice.end() :])
