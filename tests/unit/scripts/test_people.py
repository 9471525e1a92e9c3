"""The generated people: the same every time, valid, unique, in many scripts."""

import unicodedata
from pathlib import Path

from schemas.fields.rules import clean_age, clean_email, clean_name
from schemas.identity import email_key
from scripts.people import people, write_people
from tests.depth import depth

COUNT = depth(3_000, 60_000)


def test_people_are_valid_unique_and_the_same_every_time() -> None:
    """None of them is rejected, and no address occurs twice."""
    made = list(people(COUNT))
    assert made[:3_000] == list(people(3_000))
    assert made[:100] == list(people(100))
    for email, name, age in made:
        assert clean_email(email) == email
        assert clean_name(name) == name
        assert clean_age(age) == age
    assert len({email_key(email) for email, _, _ in made}) == len(made)


def test_people_have_names_in_many_scripts() -> None:
    """A few addresses contain accents and other scripts too."""
    made = list(people(600))
    scripts = {unicodedata.name(c).split()[0] for _, name, _ in made for c in name if c.isalpha()}
    assert {"LATIN", "GREEK", "CYRILLIC", "HANGUL", "HEBREW", "ARABIC", "THAI"} <= scripts
    assert {"DEVANAGARI", "GEORGIAN", "ARMENIAN", "HIRAGANA", "CJK"} & scripts
    assert any("é" in name or "ü" in name for _, name, _ in made)
    accented = [email for email, _, _ in made if not email.isascii()]
    assert 0 < len(accented) < len(made) / 20


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    """A second import of the file must send the same commands."""
    path = tmp_path / "new" / "people.csv"
    write_people(path, 50)
    assert len(path.read_text("utf-8").splitlines()) == 51
    path.write_text("mine")
    write_people(path, 50)
    assert path.read_text() == "mine"
    assert [p.name for p in path.parent.iterdir()] == ["people.csv"]
