"""Keeps one version of the index of users up to date: the documents, then the checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import orjson
from elasticsearch import NotFoundError

from projectors.contract.read_model import Batch, Position, Row
from projectors.contract.source import LATEST_STATE
from projectors.elasticsearch.client import connect, elasticsearch_available
from projectors.elasticsearch.index.bulk import BulkWriter
from projectors.elasticsearch.index.checkpoints import Checkpoints
from projectors.elasticsearch.index.hold import Held, Hold, gone
from projectors.elasticsearch.index.indexes import users_index
from runtime.settings import Settings
from schemas.records import UserEvent

_NOT_FOUND: Final = 404
_PAGE: Final = 5_000
_KEEP_ALIVE: Final = "5m"


class ElasticsearchUsers:
    """A version of the read model `elasticsearch`: one document a user, a marker for those gone.

    Documents land first, the checkpoint after: what is between is applied again after a crash, and
    the version of each document makes that harmless. One thread at a time may use it.

    `index_uuid` is that of the version's index, None if there is none; `document` makes documents
    that fit it.
    """

    name: Final = "elasticsearch"
    source: Final = LATEST_STATE

    def __init__(
        self,
        settings: Settings,
        version: int,
        index_uuid: str | None,
        document: Callable[[UserEvent], dict[str, Any]],
    ) -> None:
        self.version = version
        self._settings = settings
        self._client = connect(settings)
        self._index = users_index(settings, version)
        self._index_uuid = index_uuid
        self._document = document
        self._bulk = BulkWriter(settings, self._client, self._index, document)
        self._checkpoints = Checkpoints(settings, self._client, self._index, index_uuid)
        self._hold = Hold(self._client, self._index)

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition, of this moment. Raises `Dropped`."""
        with elasticsearch_available(self._settings):
            answer = self._client.options(ignore_status=_NOT_FOUND).indices.get_settings(
                index=self._index, name="index.uuid"
            )
        there: dict[str, Any] = answer.body.get(self._index, {})
        if not there or there["settings"]["index"]["uuid"] != self._index_uuid:
            raise gone(self._index)
        return self._checkpoints.read()

    def write(self, batch: Batch) -> None:
        """Store the users after `batch`, then advance the checkpoint.

        Raises `Fenced` if a partition is not where the batch begins, `Dropped`, `Poisoned` if
        Elasticsearch refuses a document (others of the batch may have landed), `Unavailable` if it
        is away, stays too busy, or a swap holds the writes.
        """
        if self._index_uuid is None:
            raise gone(self._index)
        self._checkpoints.check(batch.advances)
        try:
            self._bulk.store(batch.events)
        except Held:
            with elasticsearch_available(self._settings):
                if not self._hold.lift_if_dead():
                    raise
            self._bulk.store(batch.events)
        self._checkpoints.advance(batch.advances)

    def make_visible(self) -> None:
        """Return once searches that begin now see all that the checkpoint covers."""
        with elasticsearch_available(self._settings):
            try:
                self._client.indices.refresh(index=self._index)
            except NotFoundError:
                raise gone(self._index) from None

    def row_of(self, event: UserEvent) -> Row:
        """Return user id, version, and every field of the document as it should be; pure."""
        return _row(event["user_id"], event["version"], self._document(event))

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield what is held and visible, markers too, all of one moment."""
        with elasticsearch_available(self._settings):
            try:
                opened = self._client.open_point_in_time(index=self._index, keep_alive=_KEEP_ALIVE)
            except NotFoundError:
                raise gone(self._index) from None
            try:
                yield from self._pages(opened["id"])
            finally:
                self._client.close_point_in_time(id=opened["id"])

    def close(self) -> None:
        """Let go of threads and connections."""
        self._bulk.close()
        self._client.close()

    def _pages(self, point_in_time: str) -> Iterator[list[Row]]:
        after = None
        while True:
            answer = self._client.search(
                pit={"id": point_in_time, "keep_alive": _KEEP_ALIVE},
                size=_PAGE,
                sort=["_shard_doc"],
                search_after=after,
                version=True,
                track_total_hits=False,
                allow_partial_search_results=False,
                filter_path="hits.hits._id,hits.hits._version,hits.hits._source,hits.hits.sort",
            )
            hits = answer.get("hits", {}).get("hits", [])
            if not hits:
                return
            yield [_row(hit["_id"], hit["_version"], hit["_source"]) for hit in hits]
            after = hits[-1]["sort"]


def _row(user_id: str, version: int, document: dict[str, Any]) -> Row:
    """Return a row that is equal only if every field is, whichever fields there are."""
    return (user_id, version, orjson.dumps(document, option=orjson.OPT_SORT_KEYS))
