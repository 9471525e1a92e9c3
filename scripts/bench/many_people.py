"""A million people for queries: names of thirty languages, as common and as rare as in life.

The people of the other benchmarks have a few dozen names, which is quick to make and enough to
write; a search among them would find thousands for every word.
"""

import unicodedata
from collections.abc import Iterator
from functools import cached_property
from typing import Final

from scripts.bench.people import Person
from scripts.people import LOCALES, SEED

_NAMES_A_LOCALE: Final = 250
# Coprime to the number of names: every first name meets every last one.
_STRIDE: Final = 7919


class ManyPeople:
    """People by number, each with an address of its own; the same in every run."""

    def person(self, number: int) -> Person:
        """Return one of them."""
        turn, locale = divmod(number, len(LOCALES))
        firsts, lasts = self._names[locale]
        first, first_slug = firsts[turn % len(firsts)]
        last, last_slug = lasts[turn * _STRIDE // len(firsts) % len(lasts)]
        slug = ".".join(filter(None, (first_slug, last_slug))) or "user"
        return Person(f"{slug}.{number}@example.com", f"{first} {last}", number * _STRIDE % 90 + 5)

    def some(self, count: int) -> Iterator[Person]:
        """Yield the first `count`."""
        return map(self.person, range(count))

    @cached_property
    def _names(self) -> list[tuple[list[tuple[str, str]], list[tuple[str, str]]]]:
        """Return first and last names of each language, with what an address has of them."""
        from faker import Faker

        names = []
        for number, locale in enumerate(LOCALES):
            maker = Faker(locale)
            maker.seed_instance(SEED + number)
            both = [
                dict.fromkeys(make() for _ in range(_NAMES_A_LOCALE))
                for make in (maker.first_name, maker.last_name)
            ]
            firsts, lasts = ([(name, _slug(name)) for name in some] for some in both)
            names.append((firsts, lasts))
        return names


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    return "".join(filter(str.isalnum, plain))
