"""The query for a typed text: each of its words must match, in the name or in the address.

A word matches exactly, in another spelling (Juergen for Jürgen), or as a prefix. With tolerance for
typos it also matches misspelt, joined with its neighbour, or split in two. Case and accents never
matter, because the same function folds the typed text and the stored text.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, Final

from projectors.elasticsearch.folding import fold
from schemas.errors import Rejected

TEXT_MAX_CHARACTERS: Final = 300
WORDS_MAX: Final = 20  # each word takes several lookups

# The score of each kind of match: a better kind outweighs a better field. A typo scores less the
# more of the word it changes.
_EXACT, _SPELLING, _PREFIX, _SPACING, _TYPO, _TAIL = 8.0, 5.0, 4.0, 3.0, 2.0, 1.0
# A complete address outranks everything else.
WHOLE_EMAIL: Final = 1000.0
# Tie-breakers: the words in the order typed, no other words, the accents typed, and the exact
# domain, which may also be part of a longer one.
_IN_ORDER, _WHOLE_NAME, _AS_WRITTEN, _WHOLE_DOMAIN = 0.4, 0.4, 0.05, 0.4

_NAME, _EMAIL = "name_folded", "email_folded"
_FIELDS: Final = ((_NAME, 1.0), (_EMAIL, 0.7))

# Also if it was copied with the name: Jane Doe <jane@example.com>.
_ADDRESS: Final = re.compile(r"[^\s<>]+@([^\s<>]+)")
# A longer word is unlikely to be two words without their space.
_SPLIT_CHARACTERS: Final = range(2, 25)
# Transliterations for missing keys, in German and the Scandinavian languages.
_SPELT_OUT: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_SPELT: Final = re.compile("(?<=[aou])e|(?<=a)a")

# A prefix with a typo in its last letters; a shorter prefix would match almost anything.
_TAIL_CHARACTERS: Final = 2
_MIN_CHARACTERS_BEFORE_TAIL: Final = 3
# Dropping one of two words would leave a single word, which matches too many people.
_MIN_WORDS_TO_OMIT_ONE: Final = 3


class Typos(IntEnum):
    """The tolerance for typos; each level costs several times as much as the one before."""

    NONE = 0
    ONE = 1
    """In each word one letter, except the first, that is wrong, missing, extra or swapped with the
    next; an extra space; a space missing after an initial (oconnor) or in a script with few letters
    per word.
    """
    TWO = 2
    """Also the first letter, two letters in words of at least six, the last letters of a prefix, a
    space missing anywhere."""
    WORD = 3
    """In addition to ONE: a word that does not match at all, among three or more."""


# Two wrong letters in up to five, or one in up to two, make a different word.
_ONE_EACH, _TWO_EACH = "AUTO:3,300", "AUTO:3,6"


def words_of(text: str) -> list[str]:
    """Return the folded words of `text`; raise `Rejected` (`invalid_query`) if it has none."""
    if len(text) > TEXT_MAX_CHARACTERS:
        raise invalid_query(f"the text is longer than {TEXT_MAX_CHARACTERS} characters")
    words = fold(text).split()
    if not words:
        raise invalid_query("the text has neither letters nor digits")
    if len(words) > WORDS_MAX:
        raise invalid_query(f"the text has more than {WORDS_MAX} words")
    return words


def max_typos(text: str) -> Typos:
    """Return the greatest tolerance that makes sense for `text`."""
    return Typos.WORD if len(words_of(text)) >= _MIN_WORDS_TO_OMIT_ONE else Typos.TWO


def text_query(text: str, typos: Typos = Typos.NONE) -> dict[str, Any]:
    """Return the query for `text`; raise `Rejected` (`invalid_query`) if `text` has no words.

    With tolerance for typos it finds the same users in the same order, followed by others.
    """
    words = words_of(text)
    typed = unicodedata.normalize("NFC", text).strip().encode(errors="ignore").decode()
    folded = " ".join(words)
    each = [_word(words, at, typed, typos) for at in range(len(words))]
    least = len(words) - (typos == Typos.WORD)
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
    return _best_of([query, _scored({"term": {"email": address[0]}}, WHOLE_EMAIL)])


def spellings(word: str, typed: str) -> list[str]:
    """Return other spellings of a folded word of `typed`: muller for mueller, or the reverse.

    Only the typed text says whether a folded ``u`` was ``u`` or ``ü``.
    """
    spelt = fold(typed.lower().translate(_SPELT_OUT)).split()
    folded = fold(typed).split()
    out = {new for old, new in zip(folded, spelt, strict=False) if old == word}
    return sorted((out | {_SPELT.sub("", word)}) - {word})


def _word(words: list[str], at: int, typed: str, typos: Typos) -> dict[str, Any]:
    """Return all ways to match one word; the best one counts."""
    word = words[at]
    ways = _in_each_field(word, _match, _EXACT) + _in_each_field(word, _prefix, _PREFIX)
    for other in spellings(word, typed):
        ways += _in_each_field(other, _match, _SPELLING)
    if typos:
        ways += _misspelt(word, typos)
        for left, right in ((at - 1, at), (at, at + 1)):
            if left >= 0 and right < len(words):
                ways += _in_each_field(words[left] + words[right], _match, _SPACING)
        if len(word) in _SPLIT_CHARACTERS:
            most = len(word) if typos == Typos.TWO or not word.isascii() else 2
            ways.append(_scored(_split(word, range(1, most)), _SPACING))
    if typos == Typos.TWO and len(word) >= _MIN_CHARACTERS_BEFORE_TAIL + _TAIL_CHARACTERS:
        ways += _in_each_field(word[:-_TAIL_CHARACTERS], _prefix, _TAIL)
    return _best_of(ways)


def _misspelt(word: str, typos: Typos) -> list[dict[str, Any]]:
    two = typos == Typos.TWO
    # Requiring the right first letter rules out most words of the index and halves the search time.
    # In addresses, where nearly every word is unique, it is always required.
    return [
        {
            "match": {
                field: {
                    "query": word,
                    "operator": "and",
                    "fuzziness": _TWO_EACH if two else _ONE_EACH,
                    "prefix_length": 0 if two and field == _NAME else 1,
                    "boost": _TYPO * weight,
                }
            }
        }
        for field, weight in _FIELDS
    ]


def _split(word: str, cuts: Iterable[int]) -> dict[str, Any]:
    """Return a query for two words of a name, in any order, that make up `word`."""
    pairs = [(word[:cut], word[cut:]) for cut in cuts]
    both = [{"bool": {"filter": [_match(_NAME, part) for part in parts]}} for parts in pairs]
    return {"bool": {"should": both}}


def _in_each_field(
    word: str, match: Callable[[str, str], dict[str, Any]], score: float
) -> list[dict[str, Any]]:
    return [_scored(match(field, word), score * weight) for field, weight in _FIELDS]


def _match(field: str, word: str) -> dict[str, Any]:
    # `match`, not `term`: Elasticsearch splits text without spaces, such as Chinese, into smaller
    # words, at index time and here.
    return {"match": {field: {"query": word, "operator": "and"}}}


def _prefix(field: str, word: str) -> dict[str, Any]:
    return {"match_bool_prefix": {field: {"query": word, "operator": "and"}}}


def _scored(query: dict[str, Any], boost: float) -> dict[str, Any]:
    return {"constant_score": {"filter": query, "boost": boost}}


def _best_of(queries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"dis_max": {"queries": queries}}


def invalid_query(
    message: str, next_step: str = "search for a name or an e-mail address"
) -> Rejected:
    """Return the error for a search that makes no sense."""
    return Rejected(message, code="invalid_query", next_step=next_step)
