"""The query for a typed text: each of its words must match, in the name or in the address.

A word matches exactly, in another spelling (Juergen for Jürgen), or as a prefix. With tolerance for
typos it also matches misspelt, joined with its neighbour, or split in two. Case and accents never
matter, because the same function folds the typed text and the stored text.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
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
# Parts of a name in three: van den, von der, de la, dos, and three initials.
_INITIALS: Final = 3
_FIRST_PART: Final = range(1, 6)
_SECOND_PART_MOST: Final = 4
# Elasticsearch keeps a word of Hangul whole; longer given names do not exist.
_HANGUL: Final = re.compile("[\uac00-\ud7a3]{1,3}")
_PUNYCODE: Final = re.compile(r"\bxn--([a-z0-9-]+)", re.IGNORECASE)
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
    words = fold(as_registered(text)).split()
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
    typed = (
        unicodedata.normalize("NFC", as_registered(text)).strip().encode(errors="ignore").decode()
    )
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


def as_registered(text: str) -> str:
    """Return `text` with each domain in letters, as addresses are stored, instead of punycode."""
    return _PUNYCODE.sub(_decoded, text)


def _decoded(label: re.Match[str]) -> str:
    try:
        return label[1].lower().encode().decode("punycode")
    except UnicodeError:
        return label[0]


def is_given_name(word: str, found: str) -> bool:
    """Return whether `found` is a Korean full name, written without a space, that ends in `word`.

    A family name has one syllable or two.
    """
    family_name = found.removesuffix(word)
    return bool(_HANGUL.fullmatch(word)) and found != family_name and len(family_name) in {1, 2}


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
    if _HANGUL.fullmatch(word):
        given = {"regexp": {_NAME: {"value": f".{{1,2}}{word}"}}}
        ways.append(_scored(given, _PREFIX))
    if typos:
        ways += _misspelt(word, typos)
        for joined in _joined(words, at):
            ways += _in_each_field(joined, _match, _SPACING)
        if len(word) in _SPLIT_CHARACTERS:
            ways.append(_scored(_split(_parts(word, typos)), _SPACING))
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


def _joined(words: list[str], at: int) -> Iterator[str]:
    """Yield the word at `at` with one or two neighbours, without the spaces between them."""
    for count in 2, 3:
        for first in range(max(at - count + 1, 0), at + 1):
            if first + count <= len(words):
                yield "".join(words[first : first + count])


def _parts(word: str, typos: Typos) -> Iterator[tuple[str, ...]]:
    """Yield `word` in two parts and in three, such as van den akker, or the initials jrr."""
    any_place = typos == Typos.TWO
    most = len(word) if any_place or not word.isascii() else 2
    yield from ((word[:cut], word[cut:]) for cut in range(1, most))
    if len(word) == _INITIALS:
        yield tuple(word)
    elif any_place and len(word) > _INITIALS:
        for first in _FIRST_PART:
            for second in range(first + 1, min(first + _SECOND_PART_MOST, len(word) - 2) + 1):
                yield word[:first], word[first:second], word[second:]


def _split(ways: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """Return a query for the words of a name, in any order, into which a word was split."""
    all_of = [{"bool": {"filter": [_match(_NAME, part) for part in parts]}} for parts in ways]
    return {"bool": {"should": all_of}}


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
