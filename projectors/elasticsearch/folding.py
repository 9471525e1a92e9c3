"""Folds text for search: José, JOSE and jose are one word, at index and at query time alike.

It is done here, not by an analyzer, because the same function must run over what is stored and what
is typed, and because Elasticsearch's accent folding is a plugin-like module that not every
distribution carries.
"""

import unicodedata
from functools import lru_cache
from typing import Final

# Letters that Unicode does not decompose, as people without that letter on their keyboard type it.
_LETTERS: Final = {
    "ł": "l",
    "ø": "o",
    "đ": "d",
    "ð": "d",
    "þ": "th",
    "æ": "ae",
    "œ": "oe",
    "ı": "i",
    "ħ": "h",
    "ŧ": "t",
    "ŋ": "n",
    "ĸ": "k",
    "ə": "a",
    "ß": "ss",
    # Persian and Arabic keyboards differ in letters that look the same.
    "ی": "ي",
    "ى": "ي",
    "ک": "ك",
    "ة": "ه",
}
# Marks of these classes make another letter, not an accent: nuktas, the voicing of kana, viramas.
_SPELLING_CLASSES: Final = {7, 8, 9}
# Inside a word, and not searched for: joiners, soft hyphens, directions.
_INVISIBLE_CATEGORIES: Final = {"Cf", "Cs"}
# What most text is made of needs no more: two thirds of the time of a regular expression.
_ASCII_FOLDS: Final = "".join(c.lower() if c.isalnum() else " " for c in map(chr, range(128)))
# A few thousand words make most names: one that was folded before is looked up.
_WORDS_KEPT: Final = 1 << 15


class _Folds(dict[int, str]):
    """What each code point of decomposed, case-folded text becomes; filled as it is asked."""

    def __missing__(self, code_point: int) -> str:
        character = chr(code_point)
        category = unicodedata.category(character)
        if character in _LETTERS:
            folded = _LETTERS[character]
        elif category in _INVISIBLE_CATEGORIES:
            folded = ""
        elif category[0] == "M":
            accent = unicodedata.combining(character) not in {0, *_SPELLING_CLASSES}
            folded = "" if accent else character
        else:
            folded = character if category[0] in "LN" else " "
        self[code_point] = folded
        return folded


_FOLDS: Final = _Folds()


def fold(text: str) -> str:
    """Return the words of `text` in lower case without accents, one space between them.

    Everything that is no letter and no digit ends a word. Folding twice changes nothing.
    """
    return " ".join(fold_words(text))


def fold_words(text: str) -> list[str]:
    """Return the words of `fold(text)`."""
    if text.isascii():
        return text.translate(_ASCII_FOLDS).split()
    return [word for piece in text.split() for word in _fold_piece(piece)]


@lru_cache(maxsize=_WORDS_KEPT)
def _fold_piece(text: str) -> tuple[str, ...]:
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    folded = unicodedata.normalize("NFKD", decomposed).translate(_FOLDS)
    # Composed again: Hangul and voiced kana are letters, not letters with marks.
    return tuple(unicodedata.normalize("NFC", folded).split())
