"""Reads docs/searching.md: its people, its requests, and the answers that it promises."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parents[5] / "docs" / "searching.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Person:
    """A row of the table of people; `created_at` is in milliseconds since the epoch."""

    name: str
    email: str
    age: int
    created_at: int


@dataclass
class Example:
    """A code block of the page, and the expectations below it."""

    language: str
    text: str
    finds: list[str] | None = None
    answer: dict[str, Any] | None = None
    queries: list[tuple[str, str]] = field(default_factory=list)

    def request(self) -> tuple[str, str, Any]:
        """Return the method, path and body of a request in the notation of Dev Tools."""
        first, _, rest = self.text.partition("\n")
        method, path = first.split()
        return method, path, json.loads(rest) if rest.strip() else None


def people() -> list[Person]:
    """Return the people in the examples."""
    rows = re.findall(r"^\| (.+?) \| (\S+@\S+) \| (\d+) \| (\S+ \S+) \|$", PAGE, re.MULTILINE)
    return [
        Person(name, email, int(age), _milliseconds(created)) for name, email, age, created in rows
    ]


def fields() -> dict[str, str]:
    """Return field → type, as the table of the page lists them."""
    return dict(re.findall(r"^\| `([\w.]+)` \| (\w+) \|", PAGE, re.MULTILINE))


def sections() -> dict[str, list[Example]]:
    """Return heading → examples below it."""
    parts = re.split(r"^##+ (.+)$", PAGE, flags=re.MULTILINE)
    found = {title: _examples(text) for title, text in zip(parts[1::2], parts[2::2], strict=True)}
    return {title: examples for title, examples in found.items() if examples}


def _examples(text: str) -> list[Example]:
    found: list[Example] = []
    pieces = re.split(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    for language, block, below in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        if language == "bash":
            continue  # marked on the page as not run
        if language == "json":
            found[-1].answer = json.loads(block)
        else:
            found.append(Example(language, block))
        for names in re.findall(r"^Finds: (.+)$", below, re.MULTILINE):
            found[-1].finds = names.split(", ")
        found[-1].queries += re.findall(r"^(KQL|Lucene): `(.+)`$", below, re.MULTILINE)
    return found


def _milliseconds(created: str) -> int:
    return int(datetime.fromisoformat(created).replace(tzinfo=UTC).timestamp()) * 1000
