"""Folds text for search, so that José, JOSE and jose are the same word.

The same function runs at index time and at query time. It is not an analyzer, because
Elasticsearch's accent folding is in a module that not every distribution has.
"""

import unicodedata
from functools import lru_cache
from typing import Final

# Transliterations for missing keys: letters that Unicode does not decompose.
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
    # Apostrophes that Unicode counts as letters: Ukrainian keyboards have the first or ', Hawaiian
    # ones the second.
    "ʼ": " ",
    "ʻ": " ",
    "ʽ": " ",
    "ˈ": " ",
    "ʹ": " ",
    "ʾ": " ",
    "ʿ": " ",
    "ꞌ": " ",
    # Persian and Arabic keyboards have different code points for letters that look the same.
    "ی": "ي",
    "ى": "ي",
    "ک": "ك",
    "ة": "ه",
}
# Marks of these classes make a different letter and are not accents: nuktas, voiced kana, viramas.
_SPELLING_CLASSES: Final = {7, 8, 9}
# Removed inside words: joiners, soft hyphens, directional marks.
_INVISIBLE_CATEGORIES: Final = {"Cf", "Cs"}
# Enough for most text, in two thirds of the time of a regular expression.
_ASCII_FOLDS: Final = "".join(c.lower() if c.isalnum() else " " for c in map(chr, range(128)))
# Most names consist of a few thousand words, so most lookups hit the cache.
_CACHED_WORDS: Final = 1 << 15


class _Folds(dict[int, str]):
    """Code point → its replacement in decomposed, case-folded text; computed on first use."""

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
    """Return the words of `text` in lower case, without accents, separated by one space.

    Any character that is neither a letter nor a digit ends a word. Idempotent.
    """
    return " ".join(fold_words(text))


def fold_words(text: str) -> list[str]:
    """Return the words of `fold(text)`."""
    if text.isascii():
        return text.translate(_ASCII_FOLDS).split()
    return [word for piece in text.split() for word in _fold_piece(piece)]


@lru_cache(maxsize=_CACHED_WORDS)
def _fold_piece(text: str) -> tuple[str, ...]:
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    folded = unicodedata.normalize("NFKD", decomposed).translate(_FOLDS)
    # Recompose: Hangul and voiced kana are single letters without marks.
    return tuple(unicodedata.normalize("NFC", folded).split())
