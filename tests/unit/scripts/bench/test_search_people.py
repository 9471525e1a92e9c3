"""The users that searching is measured on: the same everywhere, and valid."""

from projectors.elasticsearch.index.mapping import document
from schemas.fields.rules import clean_email
from scripts.bench.search.people import registered, registrations


def test_people_are_the_same_every_time_and_valid() -> None:
    """So the right answers of the table stay right."""
    made = list(registered(3000))
    assert made[:500] == list(registered(500))
    for person in made:
        assert clean_email(person.email) == person.email
    assert len({person.email.casefold() for person in made}) == len(made)


def test_addresses_are_realistic() -> None:
    """Some repeat the name, others do not; some are at an employer."""
    events = list(registrations(600))
    documents = [document(event) for event in events]
    of_the_name = sum(d["email_folded"] == d["email_domain"].replace(".", " ") for d in documents)
    assert 100 < of_the_name < 500
    assert len({d["email_domain"] for d in documents}) > 50
