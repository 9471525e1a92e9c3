"""Generated people for the demo and the benchmarks: always the same ones, in many scripts.

The seed and Faker's version are fixed, so that a search finds the same people on every machine.
Every address is unique, valid, and in a domain reserved for examples (RFC 2606).
"""

import csv
import os
import random
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import Rejected
from schemas.fields.rules import clean_email

if TYPE_CHECKING:
    from faker import Faker

SEED = 20_240_229
LOCALES = (
    *("en_GB", "en_US", "de_DE", "fr_FR", "es_ES", "pt_BR", "it_IT", "nl_NL", "sv_SE", "da_DK"),
    *("pl_PL", "cs_CZ", "hu_HU", "ro_RO", "tr_TR", "vi_VN", "el_GR", "ru_RU", "uk_UA", "bg_BG"),
    *("ja_JP", "zh_CN", "ko_KR", "hi_IN", "th_TH", "he_IL", "ar_AA", "fa_IR", "ka_GE", "hy_AM"),
)
_DOMAINS = ("example.com", "example.org", "example.net", "mail.example.com")
# One address in 49 keeps its accents and script, which RFC 6531 permits: the whole pipeline must
# handle it. 49 is coprime to the number of locales, so that every locale has such addresses.
_ACCENTED_EVERY = 49
_NOT_PLAIN = re.compile(r"[^a-z0-9]+")
_NOT_WORD = re.compile(r"[\W_]+")


def people(count: int) -> Iterator[tuple[str, str, int]]:
    """Yield `count` people as (e-mail, name, age); the first n are the same for every count."""
    chance = random.Random(SEED)  # noqa: S311 - reproducible on purpose, no cryptography
    makers = name_makers()
    for number in range(count):
        maker = makers[number % len(makers)]
        name = unicodedata.normalize("NFC", f"{maker.first_name()} {maker.last_name()}")
        yield _address(name, number, chance), name, _age(chance)


def name_makers() -> list["Faker"]:
    """Return a maker of names for each of `LOCALES`: the same names in the same order every time.

    They make nothing else: to load all that Faker can make takes a second.
    """
    from faker import Faker

    makers = [Faker(locale, providers=["faker.providers.person"]) for locale in LOCALES]
    for number, maker in enumerate(makers):
        maker.seed_instance(SEED + number)
    return makers


def _address(name: str, number: int, chance: random.Random) -> str:
    end = f"{number}@{chance.choice(_DOMAINS)}"
    if number % _ACCENTED_EVERY == 1:
        accented = _dotted(_NOT_WORD.sub(".", name.lower())) + end
        if _is_accepted(accented):
            return accented
    plain = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    return (_dotted(_NOT_PLAIN.sub(".", plain)) or "user.") + end


def _dotted(words: str) -> str:
    short = words.strip(".")[:24].strip(".")
    return f"{short}." if short else ""


def _is_accepted(email: str) -> bool:
    """Return False for an address with letters that look alike, as some names of Faker have."""
    try:
        return clean_email(email) == email
    except Rejected:
        return False


def _age(chance: random.Random) -> int:
    return min(int(chance.triangular(13, 100, 36)), 99)


def write_people(path: Path, count: int) -> None:
    """Write `count` people as CSV to `path`, atomically; an existing file is kept."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("email", "name", "age"))
        writer.writerows(people(count))
    Path(name).rename(path)
