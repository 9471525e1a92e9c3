"""The users of every benchmark: made up, the same in every run, quick to make.

Names come from thirty languages, with realistic frequencies: with a few dozen names a search would
find thousands of users for every word.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

from scripts.people import LOCALES, name_makers

_NAMES_PER_LOCALE: Final = 250
# Coprime to the number of names: every first name meets every last name.
_STRIDE: Final = 7919


class Person(NamedTuple):
    """What a creation needs."""

    email: str
    name: str
    age: int


def person(number: int, tag: str = "") -> Person:
    """Return the person with this number; a `tag` replaces the name in the address."""
    turn, locale = divmod(number, len(LOCALES))
    firsts, lasts = _names()[locale]
    first, first_slug = firsts[turn % len(firsts)]
    last, last_slug = lasts[turn * _STRIDE // len(firsts) % len(lasts)]
    local = tag or ".".join(filter(None, (first_slug, last_slug))) or "user"
    return Person(f"{local}.{number}@example.com", f"{first} {last}", number * _STRIDE % 90 + 5)


def people(count: int, tag: str = "") -> Iterator[Person]:
    """Yield the first `count` people, all with different addresses."""
    return (person(number, tag) for number in range(count))


@cache
def _names() -> list[tuple[list[tuple[str, str]], list[tuple[str, str]]]]:
    """Return the first and last names of each language, each with its form in an address."""
    names = []
    for maker in name_makers():
        both = [
            dict.fromkeys(unicodedata.normalize("NFC", make()) for _ in range(_NAMES_PER_LOCALE))
            for make in (maker.first_name, maker.last_name)
        ]
        firsts, lasts = ([(name, _slug(name)) for name in some] for some in both)
        names.append((firsts, lasts))
    return names


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    return "".join(filter(str.isalnum, plain))
