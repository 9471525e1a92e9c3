"""The users that searching is measured on: people of many scripts with realistic addresses.

Everything is fixed by a seed and by Faker's locked version, so that the table of queries beside
this file has the same right answers everywhere.
"""

import random
from collections.abc import Iterator
from typing import Final

from schemas.identity import email_key
from schemas.records import UserEvent
from scripts.bench.workload.event_log import CREATED_AT, user_event
from scripts.bench.workload.people import Person
from scripts.people import SEED, people

PEOPLE: Final = 50_000
_MINUTE_MS = 60_000

# Two of three addresses are at a provider, the others at an employer.
_PROVIDERS = ("mail.example.com", "post.example.org", "example.com", "example.org", "example.net")
_EMPLOYERS = (
    *("northwind", "globex", "initech", "umbrella", "tyrell", "cyberdyne", "wonka", "stark"),
    *("aperture", "hooli", "vandelay", "duff", "oceanic", "soylent", "gringotts", "monarch"),
    *("zorg", "nakatomi", "bluth", "dunder", "sterling", "wayne", "oscorp", "virtucon"),
)
_COUNTRIES = ("example.com", "example.org", "example.net")
# For nicknames, and for names without a letter that fits an address.
_COLOURS = ("amber", "azure", "black", "coral", "crimson", "golden", "indigo", "silver", "violet")
_ANIMALS = ("badger", "falcon", "heron", "lynx", "marten", "otter", "raven", "salmon", "wolf")


# Kinds of names and addresses that Faker does not make.
_MORE: Final = (
    Person("flyfisher@example.org", "J. R. R. Hartley", 61),
    Person("silver.otter2001@example.net", "TJ Okonjo", 33),
    Person("violet.wolf2002@example.com", "A. P. J. Tembekar", 58),
    Person("azure.lynx2003@example.com", "Pieter van den Akker", 45),
    Person("coral.raven2004@example.org", "Els Vandenakker", 52),
    Person("black.heron2005@example.net", "Koen Vandermeulen", 38),
    Person("amber.marten2006@example.com", "Marisol de la Cruzado", 29),
    Person("golden.wolf2007@example.com", "Kealoha Kaʻiulani", 41),
    Person("indigo.otter2008@example.org", "김슬옹", 26),
    Person("crimson.lynx2009@example.com", "황보새롬", 31),
    Person("silver.heron2010@example.net", "박초롱", 22),
    Person("adler@bücher.example", "Ulrike Adler", 49),
    Person("dahl@fjordål.example", "Søren Dahl", 55),
)


def registered(count: int = PEOPLE) -> Iterator[Person]:
    """Yield `count` people with different addresses; the first n are the same for every count."""
    chance = random.Random(SEED)  # noqa: S311 - reproducible, not a secret
    yield from _MORE[:count]
    taken = {email_key(person.email) for person in _MORE}
    for number, (address, name, age) in enumerate(people(max(count - len(_MORE), 0))):
        local = _local_part(address.partition("@")[0], number, chance)
        domain = _domain(chance)
        if email_key(f"{local}@{domain}") in taken:
            local = f"{local}{number}"
        email = f"{local}@{domain}"
        taken.add(email_key(email))
        yield Person(email, name, age)


def _local_part(plain: str, number: int, chance: random.Random) -> str:
    """Return the local part of an address for the name `plain`, which ends in a number."""
    words = plain.split(".")[:-1]
    if not plain.isascii():
        return ".".join(words)
    if words == ["user"] or chance.random() < 1 / 8:
        return f"{chance.choice(_COLOURS)}.{chance.choice(_ANIMALS)}{chance.randrange(1000)}"
    first, last = words[0], words[-1]
    ways = (
        f"{first}.{last}",
        f"{first}.{last}",
        f"{last}.{first}",
        f"{first[0]}{last}",
        f"{first}{last}",
        f"{first}_{last}",
        f"{first}{1920 + number % 90}",
    )
    return chance.choice(ways)


def _domain(chance: random.Random) -> str:
    if chance.random() < 2 / 3:
        return chance.choice(_PROVIDERS)
    return f"{chance.choice(_EMPLOYERS)}.{chance.choice(_COUNTRIES)}"


def registrations(count: int = PEOPLE) -> Iterator[UserEvent]:
    """Yield the creations of `registered(count)` as they are on the log, a minute apart."""
    for number, person in enumerate(registered(count)):
        event = user_event(number, person, created_at=CREATED_AT + number * _MINUTE_MS)
        yield event | {"seq": number + 1}
