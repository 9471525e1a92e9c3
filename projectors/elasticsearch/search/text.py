"""What a typed text asks of the index: each of its words, in the name or in the address.

A word is found as it is, in another spelling of its letters (Juergen is Jürgen), or as a beginning;
when slips are forgiven, also misspelt, run together with its neighbour or torn in two. Case and
accents do not matter before that: the text is folded by the same function as what is stored.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, Final

from projectors.elasticsearch.folding import fold
from schemas.errors import Rejected

TEXT_MAX_CHARACTERS: Final = 300
WORDS_MAX: Final = 20  # each one costs a handful of look-ups

# What a way of finding a word is worth, so that a better way of one word outweighs where it was
# found. A typo is worth less the more of the word it changes.
_EXACT, _SPELLING, _BEGINNING, _SPACING, _TYPO, _TAIL = 8.0, 5.0, 4.0, 3.0, 2.0, 1.0
# A whole address is what it is; nothing else comes near.
WHOLE_EMAIL: Final = 1000.0
# Between equals: the words in the order typed, nothing but them, and with the accents typed; the
# very domain, which another's may contain.
_IN_ORDER, _WHOLE_NAME, _AS_WRITTEN, _WHOLE_DOMAIN = 0.4, 0.4, 0.05, 0.4

_NAME, _EMAIL = "name_folded", "email_folded"
_FIELDS: Final = ((_NAME, 1.0), (_EMAIL, 0.7))

# Also where it was copied with the name before it: Jane Doe <jane@example.com>.
_ADDRESS: Final = re.compile(r"[^\s<>]+@([^\s<>]+)")
# Longer words are no slip of a space.
_TORN_CHARACTERS: Final = range(2, 25)
# How the letters are written by whom the keyboard leaves alone, in German and Scandinavian.
_SPELT_OUT: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_SPELT: Final = re.compile("(?<=[aou])e|(?<=a)a")


# A beginning of a word, with a slip in its last letters; shorter ones would begin anything.
_TAIL_CHARACTERS: Final = 2
_WITHOUT_TAIL_LEAST: Final = 3
# Of two words one would be left, which finds anybody.
_WORDS_LEAST: Final = 3


class Slips(IntEnum):
    """How much is forgiven; each costs several times as much as the one before."""

    NONE = 0
    ONE = 1
    """A letter of each word, but for its first, wrong, missing, too many or swapped with the next;
    a space too many; one missing after an initial (oconnor), or in a script of few letters a word.
    """
    TWO = 2
    """The first letter, two letters in words of six and more, the last ones of a beginning; a space
    missing anywhere."""
    WORD = 3
    """Beside the slips of ONE, a whole word of three and more."""


# Up to five letters two wrong ones make another word, up to two letters one does.
_ONE_EACH, _TWO_EACH = "AUTO:3,300", "AUTO:3,6"


def words_of(text: str) -> list[str]:
    """Return the folded words of `text`; raise `Rejected` (`invalid_query`) if it has none."""
    if len(text) > TEXT_MAX_CHARACTERS:
        raise invalid(f"the text is longer than {TEXT_MAX_CHARACTERS} characters")
    words = fold(text).split()
    if not words:
        raise invalid("the text has no letter and no digit")
    if len(words) > WORDS_MAX:
        raise invalid(f"the text has more than {WORDS_MAX} words")
    return words


def most_slips(text: str) -> Slips:
    """Return the most that can be forgiven in `text`."""
    return Slips.WORD if len(words_of(text)) >= _WORDS_LEAST else Slips.TWO


def text_query(text: str, slips: Slips = Slips.NONE) -> dict[str, Any]:
    """Return the query for `text`; raise `Rejected` (`invalid_query`) if there is nothing to find.

    With `slips` it finds the same, in the same order, and then what is typed nearly so.
    """
    words = words_of(text)
    typed = unicodedata.normalize("NFC", text).strip().encode(errors="ignore").decode()
    folded = " ".join(words)
    each = [_word(words, at, typed, slips) for at in range(len(words))]
    least = len(words) - (slips == Slips.WORD)
    must = [{"bool": {"should": each, "minimum_should_match": least}}]
    rank = [
        {"match_phrase": {_NAME: {"query": folded, "boost": _IN_ORDER}}},
        {"term": {f"{_NAME}.keyword": {"value": folded, "boost": _WHOLE_NAME}}},
        {"match": {"name": {"query": typed, "boost": _AS_WRITTEN}}},
    ]
    query = {"bool": {"must": must, "should": rank}}
    if not (address := _ADDRESS.search(typed)):
        return query
    domain = {"value": address[1].lower(), "boost": _WHOLE_DOMAIN}
    rank.append({"term": {"email_domain": domain}})
    return _best_of([query, _worth({"term": {"email": address[0]}}, WHOLE_EMAIL)])


def spellings(word: str, typed: str) -> list[str]:
    """Return other ways to write a folded word of `typed`: muller for mueller, or the reverse.

    Which letters a folded ``u`` was, only the typed text tells.
    """
    spelt = fold(typed.lower().translate(_SPELT_OUT)).split()
    folded = fold(typed).split()
    out = {new for old, new in zip(folded, spelt, strict=False) if old == word}
    return sorted((out | {_SPELT.sub("", word)}) - {word})


def _word(words: list[str], at: int, typed: str, slips: Slips) -> dict[str, Any]:
    """Return the ways to find one word, of which the best counts."""
    word = words[at]
    ways = _anywhere(word, _match, _EXACT) + _anywhere(word, _beginning, _BEGINNING)
    for other in spellings(word, typed):
        ways += _anywhere(other, _match, _SPELLING)
    if slips:
        ways += _misspelt(word, slips)
        for left, right in ((at - 1, at), (at, at + 1)):
            if left >= 0 and right < len(words):
                ways += _anywhere(words[left] + words[right], _match, _SPACING)
        if len(word) in _TORN_CHARACTERS:
            most = len(word) if slips == Slips.TWO or not word.isascii() else 2
            ways.append(_worth(_torn(word, range(1, most)), _SPACING))
    if slips == Slips.TWO and len(word) >= _WITHOUT_TAIL_LEAST + _TAIL_CHARACTERS:
        ways += _anywhere(word[:-_TAIL_CHARACTERS], _beginning, _TAIL)
    return _best_of(ways)


def _misspelt(word: str, slips: Slips) -> list[dict[str, Any]]:
    two = slips == Slips.TWO
    # With the first letter right most words need not be looked at: half the time of a search. Among
    # addresses, where nearly every word is another, it is never in doubt.
    return [
        {
            "match": {
                field: {
                    "query": word,
                    "operator": "and",
                    "fuzziness": _TWO_EACH if two else _ONE_EACH,
                    "prefix_length": 0 if two and field == _NAME else 1,
                    "boost": _TYPO * share,
                }
            }
        }
        for field, share in _FIELDS
    ]


def _torn(word: str, cuts: Iterable[int]) -> dict[str, Any]:
    """Return what finds two words of a name, in any order, that make `word` without a space."""
    pairs = [(word[:cut], word[cut:]) for cut in cuts]
    both = [{"bool": {"filter": [_match(_NAME, part) for part in parts]}} for parts in pairs]
    return {"bool": {"should": both}}


def _anywhere(
    word: str, way: Callable[[str, str], dict[str, Any]], worth: float
) -> list[dict[str, Any]]:
    return [_worth(way(field, word), worth * share) for field, share in _FIELDS]


def _match(field: str, word: str) -> dict[str, Any]:
    # `match`, not `term`: Elasticsearch cuts text without spaces, such as Chinese, into smaller
    # words, when it is stored and here.
    return {"match": {field: {"query": word, "operator": "and"}}}


def _beginning(field: str, word: str) -> dict[str, Any]:
    return {"match_bool_prefix": {field: {"query": word, "operator": "and"}}}


def _worth(query: dict[str, Any], boost: float) -> dict[str, Any]:
    return {"constant_score": {"filter": query, "boost": boost}}


def _best_of(queries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"dis_max": {"queries": queries}}


def invalid(message: str, next_step: str = "give a name or an e-mail address") -> Rejected:
    """Return the refusal of a search that cannot be asked."""
    return Rejected(message, code="invalid_query", next_step=next_step)
