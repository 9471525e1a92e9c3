"""How often a search with generated mistakes finds its user first, among the people of the table.

The queries of `scripts.bench.search.table` were written by hand, and the search was improved
against its misses. These are made by a program, so they show how far the improvements generalise.
"""

import random
from collections.abc import Callable
from functools import cache
from typing import Final

from projectors.elasticsearch.search.queries import UserSearch
from runtime.settings import Settings
from scripts.bench.search.people import registered
from scripts.bench.workload.people import Person
from scripts.people import SEED

_QUERIES_PER_KIND: Final = 300
# The people meant are among the first of those indexed.
_POOL: Final = 5_000
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
# In a shorter word, a slip would make a different word.
_LEAST_LETTERS: Final = 4


def _slip(word: str, chance: random.Random) -> str:
    """Return the word with a letter wrong, missing, doubled or swapped, never the first one."""
    place = chance.randrange(1, len(word) - 1)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    ways = (
        before + chance.choice(_LETTERS) + after,
        before + after,
        before + 2 * letter + after,
        before + after[0] + letter + after[1:],
    )
    return chance.choice(ways)


def _one_slip(person: Person, chance: random.Random) -> str:
    words = person.name.split()
    place = max(range(len(words)), key=lambda number: len(words[number]))
    words[place] = _slip(words[place], chance)
    return " ".join(words)


def _slip_in_each_word(person: Person, chance: random.Random) -> str:
    return " ".join(_slip(word, chance) for word in person.name.split())


def _wrong_first_letter(person: Person, chance: random.Random) -> str:
    first, *others = person.name.split()
    return " ".join([chance.choice(_LETTERS) + first[1:], *others])


def _swap_in_the_address(person: Person, chance: random.Random) -> str:
    local, _, domain = person.email.partition("@")
    place = chance.randrange(1, len(local) - 2)
    swapped = local[:place] + local[place + 1] + local[place] + local[place + 2 :]
    return f"{swapped}@{domain}"


KINDS: Final[dict[str, Callable[[Person, random.Random], str]]] = {
    "one_slip": _one_slip,
    "slip_in_each_word": _slip_in_each_word,
    "wrong_first_letter": _wrong_first_letter,
    "swap_in_the_address": _swap_in_the_address,
}


def generated_queries(kind: str) -> list[tuple[str, Person]]:
    """Return 300 queries of a kind with the person each means; the same in every run."""
    chance = random.Random(f"{SEED} {kind}")  # noqa: S311 - reproducible, not a secret
    meant = chance.sample(_able(), _QUERIES_PER_KIND)
    return [(KINDS[kind](one, chance), one) for one in meant]


@cache
def _able() -> list[Person]:
    return [person for person in registered(_POOL) if _takes_slips(person)]


def _takes_slips(person: Person) -> bool:
    """Return whether each word of the name is written in letters and long enough for a slip."""
    words = [*person.name.split(), person.email.partition("@")[0]]
    return all(len(word) >= _LEAST_LETTERS and word[0].isascii() for word in words)


def generated_hits_at_1(settings: Settings) -> dict[str, float]:
    """Return by kind the share of generated queries whose first hit is the person meant.

    `settings` are those of `search_people_index`. A namesake of the person meant counts too.
    """
    with UserSearch(settings) as search:
        return {kind: _hit_rate(search, kind) for kind in KINDS}


def _hit_rate(search: UserSearch, kind: str) -> float:
    hits = 0
    for text, person in generated_queries(kind):
        found = search.search_users(text)
        hits += bool(found) and person.name == found[0]["name"]
    return hits / _QUERIES_PER_KIND
