"""Marks in a name and an address what a search found there.

Elasticsearch can only mark the folded fields, which nobody is shown, and does not see the
beginnings it looked up. So the few users of a page are looked at here, by the same rules.
"""

from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import Final
from unicodedata import category

from projectors.elasticsearch.folding import fold
from projectors.elasticsearch.search.text import spellings

BEGIN: Final = "<em>"
END: Final = "</em>"

# As Elasticsearch does: no slip in words of two letters, one in words of up to five.
_NO_SLIP_BELOW, _TWO_SLIPS_FROM = 3, 6


def highlights(text: str, **fields: str) -> dict[str, str]:
    """Return the fields where something of `text` was found, with <em> around each such word.

    A word that was found in a better way is not marked where it was found in a worse one, nor in a
    later field if an earlier one has it; the same word is marked everywhere.
    """
    typed = fold(text).split()
    stored = [fold(value).split() for value in fields.values()]
    found: set[str] = set()
    for at, word in enumerate(typed):
        found |= _best(
            _ways(typed, at, spellings(word, text), {w for ws in stored for w in ws}), stored
        )
    marked = {name: _marked(value, found) for name, value in fields.items()}
    return {name: value for name, value in marked.items() if value != fields[name]}


def _ways(
    typed: list[str], at: int, spelt: list[str], stored: set[str]
) -> Iterator[Callable[[str], bool]]:
    """Yield the ways in which a typed word finds a stored one, the best first."""
    word = typed[at]
    neighbours = {left + right for left, right in pairwise(typed)}
    yield lambda found: found == word
    yield lambda found: found in spelt
    yield lambda found: found.startswith(word)
    yield lambda found: (found in neighbours and word in found) or _is_torn(word, found, stored)
    yield lambda found: is_slip(word, found)
    # Text without spaces, such as Chinese, is found by each of its letters.
    yield lambda found: not word.isascii() and (found in word or word in found)


def _best(ways: Iterator[Callable[[str], bool]], stored: list[list[str]]) -> set[str]:
    for way in ways:
        for words in stored:
            if found := set(filter(way, words)):
                return found
    return set()


def _is_torn(word: str, found: str, stored: set[str]) -> bool:
    """Whether `word` is `found` and another stored word without the space between them."""
    return (word.startswith(found) and word[len(found) :] in stored) or (
        word.endswith(found) and word[: -len(found)] in stored
    )


def is_slip(typed: str, meant: str) -> bool:
    """Whether a few letters wrong, missing, too many or swapped make `typed` of `meant`."""
    if len(typed) < _NO_SLIP_BELOW:
        return typed == meant
    most = 2 if len(typed) >= _TWO_SLIPS_FROM else 1
    if abs(len(typed) - len(meant)) > most:
        return False
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, letter in enumerate(typed, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(meant, 1):
            slips = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if last and j > 1 and letter == meant[j - 2] and typed[i - 2] == other:
                slips = min(slips, last[j - 2] + 1)
            row.append(slips)
    return row[-1] <= most


def _marked(value: str, words: set[str]) -> str:
    pieces = ("".join(letters) for _, letters in groupby(value, _is_of_a_word))
    return "".join(
        f"{BEGIN}{piece}{END}" if words.intersection(fold(piece).split()) else piece
        for piece in pieces
    )


def _is_of_a_word(character: str) -> bool:
    kind = category(character)
    return kind[0] in "LNM" or kind == "Cf"
