from collections.abc import Iterator

import pytest

from runtime.settings import Settings, load_settings
from scripts.bench.search.people import PEOPLE, registered
from scripts.bench.search.table import HELD_OUT, QUERIES, Query, misses, search_people_index
from scripts.stack.native.local import LocalStack
from tests.depth import DEEP

# The rates reached, less one query: a change of the search may trade one for another. Three of
# those held out were missed when they were written, and the search was not changed because of them.
MOST_MISSES = {QUERIES: 1, HELD_OUT: 4}


@pytest.fixture(scope="module")
def people(stack: LocalStack) -> Iterator[Settings]:
    """Return the settings of an index of all people of the table."""
    settings = load_settings({}, config=str(stack.config_file)).settings
    with search_people_index(settings) as own:
        yield own


@pytest.mark.parametrize("queries", [QUERIES, HELD_OUT], ids=["tuned", "held out"])
@pytest.mark.skipif(not DEEP, reason="indexes 50,000 people; in `make test-deep`")
def test_the_first_hit_is_the_user_meant(people: Settings, queries: tuple[Query, ...]) -> None:
    """Typos, spellings, initials, prefixes, parts of addresses, other scripts, among 50,000."""
    missed = misses(people, queries)
    for miss in missed:
        print(f"{miss.query} found {miss.first} first, at {miss.found_at}")  # noqa: T201 - pytest shows it
    assert len(missed) <= MOST_MISSES[queries]


def test_every_query_of_the_table_means_an_indexed_user() -> None:
    """Identified by an address, or by a name that any user may have."""
    made = list(registered())
    assert len(made) == len({person.email.casefold() for person in made}) == PEOPLE
    known = {person.email for person in made} | {person.name for person in made}
    queries = (*QUERIES, *HELD_OUT)
    assert [query for query in queries if query.means not in known] == []
    assert len({query.text for query in queries}) == len(queries)
