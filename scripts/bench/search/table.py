"""Queries as people type them, each with the user meant: measures how good the search is.

Each query in `queries.tsv` was written from one user of `scripts.bench.search.people`, as a person
would type it from memory, before its result was seen. The search may be changed so that more of
them hit; those in `queries_held_out.tsv` are never used for that and show whether it generalises.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from itertools import islice
from typing import Any, Final, NamedTuple

from projectors.contract.read_model import Batch
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.elasticsearch.search.queries import UserSearch
from runtime.settings import Settings
from scripts.bench.search.people import registrations
from scripts.bench.workload.stores import remove_read_models

_BATCH_EVENTS: Final = 5_000  # a batch has a deadline


class Query(NamedTuple):
    """The text typed and the user meant: an address, or a name that any user may have."""

    text: str
    means: str


def _read_queries(name: str) -> Iterator[Query]:
    text = resources.files("scripts.bench.search").joinpath(name).read_text("utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            yield Query(*line.split("\t"))


QUERIES: Final = tuple(_read_queries("queries.tsv"))
HELD_OUT: Final = tuple(_read_queries("queries_held_out.tsv"))


@dataclass(frozen=True, slots=True)
class Miss:
    """A query with another first hit; `found_at` is the rank of the user meant, from 1."""

    query: Query
    first: str
    found_at: int | None


def misses(settings: Settings, queries: Sequence[Query] = QUERIES) -> list[Miss]:
    """Run the queries on the index of `search_people_index`; return those that miss."""
    with UserSearch(settings) as search:
        asked = ((query, search.search_users(query.text)) for query in queries)
        return [_miss(query, users) for query, users in asked if not _is_first(query, users)]


@contextmanager
def search_people_index(settings: Settings) -> Iterator[Settings]:
    """Yield settings with a new prefix under which the 50,000 can be searched; remove it after."""
    own = replace(settings, prefix=f"search-{secrets.token_hex(4)}")
    try:
        with closing(ElasticsearchVersions(own)) as versions:
            versions.begin()
            (version,) = versions.versions()
            with closing(versions.open(version.number)) as model:
                events = registrations()
                while some := list(islice(events, _BATCH_EVENTS)):
                    model.write(Batch(some, {}))
                model.make_visible()
        yield own
    finally:
        remove_read_models(own)


def _is_first(query: Query, users: Sequence[dict[str, Any]]) -> bool:
    return bool(users) and query.means in (users[0]["name"], users[0]["email"])


def _miss(query: Query, users: Sequence[dict[str, Any]]) -> Miss:
    places = [n for n, user in enumerate(users, 1) if query.means in (user["name"], user["email"])]
    return Miss(query, users[0]["name"] if users else "nobody", min(places, default=None))
