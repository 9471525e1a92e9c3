"""The users that every benchmark works on: made up, the same in every run, quick to make."""

from collections.abc import Iterator
from itertools import islice, product
from typing import NamedTuple

_FIRST = (
    *("Jane", "Jürgen", "Łukasz", "Zoë", "Søren", "Chloé", "José", "Nguyễn", "Aylin", "Michał"),
    *("Anna", "Björn", "Olga", "Mehmet", "Siân", "Ravi", "Mei", "Hana", "Omar", "Leïla"),
    *("Иван", "Ольга", "Δημήτρης", "美咲"),
)
_LAST = (
    *("Doe", "Müller", "Wałęsa", "Ångström", "Brontë", "García", "Şahin", "Kowalska", "Novák"),
    *("Johansson", "Smith", "O'Neill", "Papadopoulos", "Иванова", "田中", "Ødegård", "Kılıç"),
    *("Hernández", "Schäfer", "Dvořák", "Lee", "Okafor", "Rossi", "Silva"),
)


class Person(NamedTuple):
    """What a creation needs."""

    email: str
    name: str
    age: int


def people(count: int, tag: str = "user") -> Iterator[Person]:
    """Yield `count` people with different addresses; the same for the same arguments."""
    names = list(product(_FIRST, _LAST))
    numbered = ((number, names[number % len(names)]) for number in range(count))
    for number, (first, last) in islice(numbered, count):
        yield Person(f"{tag}.{number:07d}@example.com", f"{first} {last}", (number * 7919) % 90 + 5)
