"""The stores that the service reads: a pool of threads for each purpose, apart from the others."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from projectors.catalog import open_versions
from projectors.elasticsearch.client import QUERY_TIMEOUT_SECONDS
from projectors.elasticsearch.search.queries import UserSearch
from projectors.history.queries import EventStore
from projectors.postgres.users.queries import UserGets, UserQueries
from projectors.service.stores.gets import Gets
from projectors.service.stores.pool import TIMEOUT_SECONDS, Pool
from projectors.service.stores.waits import Waits
from projectors.versions.visibility import LiveVersion, TopicIds
from runtime.settings import Settings

# PostgreSQL ends a query before its caller gives up, so that no thread stays occupied by a query
# that nobody waits for.
_STATEMENT_SECONDS = TIMEOUT_SECONDS - 2
# A search is several requests to Elasticsearch, each of which has a time limit of its own.
_SEARCH_SECONDS = 1.5 * QUERY_TIMEOUT_SECONDS
# More at a time would only wait in Elasticsearch, which has that many search threads on two cores.
_SEARCHES = 8
_GETS = 2
_LISTS = 4
_HISTORIES = 4
_LOG_READERS = 4


class NoConnection:
    """For threads whose calls open their own connections."""

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Stores:
    """All that the service reads. Use it from one event loop."""

    settings: Settings
    gets: Gets
    users: Pool[UserQueries]
    history: Pool[EventStore]
    search: Pool[UserSearch]
    log: Pool[NoConnection]
    waits: Waits
    _closing: ExitStack

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return them without connecting to anything."""

        def queries() -> UserQueries:
            return UserQueries(settings, timeout_seconds=_STATEMENT_SECONDS)

        def events() -> EventStore:
            return EventStore(settings, timeout_seconds=_STATEMENT_SECONDS)

        search = UserSearch(settings)  # for all threads

        def live(read_model: str) -> LiveVersion:
            return LiveVersion(open_versions(settings, read_model), TopicIds(settings).id_of)

        with ExitStack() as closing:
            connections = [
                UserGets(settings, timeout_seconds=_STATEMENT_SECONDS) for _ in range(_GETS)
            ]
            users = Pool("PostgreSQL", queries, threads=_LISTS)
            history = Pool("PostgreSQL", events, threads=_HISTORIES)
            searches = Pool(
                "Elasticsearch", lambda: search, threads=_SEARCHES, timeout_seconds=_SEARCH_SECONDS
            )
            log = Pool("Kafka", NoConnection, threads=_LOG_READERS, timeout_seconds=15)
            waits = Waits(settings.partitions, live)
            for one in (users, history, searches, log, waits):
                closing.callback(one.close)
            return cls(
                settings, Gets(connections), users, history, searches, log, waits, closing.pop_all()
            )

    async def close(self) -> None:
        """Close all connections."""
        await self.gets.close()
        self._closing.close()
