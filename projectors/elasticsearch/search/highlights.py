"""Marks the words of a name and an address that a search matched.

Elasticsearch could mark only the folded fields, which are not shown, and cannot mark prefixes that
it looked up in the index. So the few users of a page are matched again here, by the same rules.
"""

import html
import re
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import Final
from unicodedata import category

from projectors.elasticsearch.folding import fold
from projectors.elasticsearch.search.text import as_registered, is_given_name, spellings

BEGIN: Final = "<em>"
END: Final = "</em>"
_MARKS: Final = re.compile(f"{BEGIN}|{END}")

# As in Elasticsearch: no typo in words of two letters, one in words of up to five.
_NO_TYPO_BELOW, _TWO_TYPOS_FROM = 3, 6


def highlights(text: str, **fields: str) -> dict[str, str]:
    """Return the fields that match a word of `text`, with <em> around each matching word.

    The values are HTML: everything but the marks is escaped, so a page may show them as they are;
    `unescaped` takes them apart. Only the best kind of match of a typed word is marked, and only in
    the first field that has it; equal words are marked everywhere.
    """
    text = as_registered(text)
    typed = fold(text).split()
    stored = [fold(value).split() for value in fields.values()]
    found: set[str] = set()
    for at, word in enumerate(typed):
        found |= _best(
            _ways(typed, at, spellings(word, text), {w for ws in stored for w in ws}), stored
        )
    marked = {name: _marked(value, found) for name, value in fields.items()}
    return {name: value for name, value in marked.items() if BEGIN in value}


def unescaped(highlighted: str) -> tuple[str, ...]:
    """Return the parts of a highlighted value as written; every second one was marked."""
    return tuple(html.unescape(part) for part in _MARKS.split(highlighted))


def _ways(
    typed: list[str], at: int, spelt: list[str], stored: set[str]
) -> Iterator[Callable[[str], bool]]:
    """Yield the ways in which a typed word matches a stored one, best first."""
    word = typed[at]
    neighbours = {left + right for left, right in pairwise(typed)}
    neighbours |= {"".join(typed[at : at + 3]) for at in range(len(typed) - 2)}
    yield lambda found: found == word
    yield lambda found: found in spelt
    yield lambda found: found.startswith(word)
    yield lambda found: is_given_name(word, found)
    yield lambda found: (found in neighbours and word in found) or _lacks_space(word, found, stored)
    yield lambda found: is_typo(word, found)
    # Text without spaces, such as Chinese, is matched by each of its characters.
    yield lambda found: not word.isascii() and (found in word or word in found)


def _best(ways: Iterator[Callable[[str], bool]], stored: list[list[str]]) -> set[str]:
    for way in ways:
        for words in stored:
            if found := set(filter(way, words)):
                return found
    return set()


def _lacks_space(word: str, found: str, stored: set[str]) -> bool:
    """Return whether `word` is `found` and one or two stored words without spaces between them."""
    others = {other for other in stored if other and other in word}
    joined = others | {left + right for left in others for right in others}
    return found in word and any(
        word in {found + rest, rest + found} or word == left + found + right
        for rest in joined
        for left in others
        for right in others
    )


def is_typo(typed: str, meant: str) -> bool:
    """Return whether `typed` is `meant` with a few letters wrong, missing, extra or swapped."""
    if len(typed) < _NO_TYPO_BELOW:
        return typed == meant
    most = 2 if len(typed) >= _TWO_TYPOS_FROM else 1
    if abs(len(typed) - len(meant)) > most:
        return False
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, letter in enumerate(typed, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(meant, 1):
            typos = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if last and j > 1 and letter == meant[j - 2] and typed[i - 2] == other:
                typos = min(typos, last[j - 2] + 1)
            row.append(typos)
    return row[-1] <= most


def _marked(value: str, words: set[str]) -> str:
    pieces = ("".join(letters) for _, letters in groupby(value, _is_word_character))
    return "".join(
        f"{BEGIN}{html.escape(piece)}{END}"
        if words.intersection(fold(piece).split())
        else html.escape(piece)
        for piece in pieces
    )


def _is_word_character(character: str) -> bool:
    kind = category(character)
    return kind[0] in "LNM" or kind == "Cf"
