"""An empty index of users, with the mapping and settings of ours, for whoever is measured."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

from elasticsearch import Elasticsearch

from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import users_body
from runtime.settings import Settings

_WRITTEN: Final = "_all.primaries.indexing.index_total"


@dataclass(frozen=True, slots=True)
class UserIndex:
    """The index `name`, which may be a pattern."""

    name: str
    client: Elasticsearch

    def count(self) -> int:
        """Return how many documents were ever written.

        Unlike a count of those there are it needs no refresh: it is exact at every moment.
        """
        stats = self.client.indices.stats(
            index=self.name, metric="indexing", filter_path=_WRITTEN
        ).body
        primaries = stats.get("_all", {}).get("primaries", {})
        return int(primaries.get("indexing", {}).get("index_total", 0))


@contextmanager
def empty_user_index(settings: Settings) -> Iterator[UserIndex]:
    """Give a new index that no projector writes; it goes after."""
    name = f"{settings.named('rollbook-bench')}-{secrets.token_hex(4)}"
    with closing(connect(settings)) as client:
        client.indices.create(index=name, **users_body(settings))
        try:
            yield UserIndex(name, client)
        finally:
            client.indices.delete(index=name)
