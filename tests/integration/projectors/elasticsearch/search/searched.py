"""The people to search for; each is needed by a test."""

from typing import Any

from tests.integration.projectors.elasticsearch.search.search_page import Person

CREATED = 1_760_000_000_000
NAMES = (
    ("José Muñoz", "pepe@example.com", 34),
    ("Łukasz Żółć", "lz@example.com", 19),
    ("佐藤 太郎", "taro@example.com", 71),
    ("Иван Фёдоров", "ivan@example.com", 20),
    ("Jane Smith", "jane.doe@example.org", 64),
    ("Jürgen Weiß", "weiss77@example.net", 65),
    ("Jurgen Weisz", "jw@example.net", 15),
    ("Jana Roe", "jana@example.com", 40),
    ("Janet Poe", "jp@example.com", 41),
    ("Lesley O'Connor", "oconnor@example.com", 42),
)
PEOPLE = [Person(*person, CREATED + at) for at, person in enumerate(NAMES)]


def names(users: list[dict[str, Any]]) -> list[str]:
    """Return the names of users."""
    return [user["name"] for user in users]
