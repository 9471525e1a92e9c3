"""Keeps one version of the index of users up to date: documents first, then the checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import orjson

from projectors.contract.read_model import Batch, Position, Row
from projectors.contract.source import LATEST_STATE
from projectors.elasticsearch.client import connect, elasticsearch_available
from projectors.elasticsearch.index.bulk import BulkWriter
from projectors.elasticsearch.index.checkpoints import Checkpoints
from projectors.elasticsearch.index.indexes import ToDocument, users_index
from projectors.elasticsearch.index.write_lock import WriteLock, WritesPaused, index_dropped
from runtime.settings import Settings
from schemas.records import UserEvent

# Shorter than for other requests, because the projector cannot stop while it writes. Together with
# `STORE_SECONDS`, a write ends in less than two minutes.
_WRITE_REQUEST_SECONDS: Final = 10.0
_PAGE_SIZE: Final = 5_000
_KEEP_ALIVE: Final = "5m"

# A point in time, and which of how many slices of it.
Part: TypeAlias = tuple[str, int, int]


class ElasticsearchUsers:
    """A version of the read model `elasticsearch`: a document per user, a marker if deleted.

    Documents are stored before the checkpoint advances. After a crash in between, events are
    applied again, which their document versions make harmless. Not thread-safe.

    `index_uuid` identifies the index of the version, None if it does not exist; `document` makes
    documents that fit its mapping.
    """

    name: Final = "elasticsearch"
    source: Final = LATEST_STATE

    def __init__(
        self,
        settings: Settings,
        version: int,
        index_uuid: str | None,
        document: ToDocument,
    ) -> None:
        self.version = version
        self._settings = settings
        self._client = connect(settings)
        self._index = users_index(settings, version)
        self._index_uuid = index_uuid
        self._document = document
        self._bulk = BulkWriter(settings, self._client, self._index, document)
        quick = self._client.options(request_timeout=_WRITE_REQUEST_SECONDS)
        self._checkpoints = Checkpoints(settings, quick, self._index, index_uuid)
        self._lock = WriteLock(quick, self._index)

    def checkpoint(self) -> dict[int, Position]:
        """Return the current position of each partition. Raises `Dropped`."""
        with elasticsearch_available(self._settings):
            answer = self._client.options(ignore_status=HTTPStatus.NOT_FOUND).indices.get_settings(
                index=self._index, name="index.uuid"
            )
        found: dict[str, Any] = answer.body.get(self._index, {})
        if not found or found["settings"]["index"]["uuid"] != self._index_uuid:
            raise index_dropped(self._index)
        return self._checkpoints.read()

    def write(self, batch: Batch) -> None:
        """Store the users after `batch`, then advance the checkpoint.

        Raises `Fenced` if a partition is not at the position where the batch begins, `Dropped`,
        `Poisoned` if Elasticsearch refuses a document (others of the batch may have been stored),
        `Unavailable` if it is unavailable, stays too busy, or a swap has paused writes.
        """
        if self._index_uuid is None:
            raise index_dropped(self._index)
        self._checkpoints.check(batch.advances)
        try:
            self._bulk.store(batch.events)
        except WritesPaused:
            with elasticsearch_available(self._settings):
                if not self._lock.release_expired():
                    raise
            self._bulk.store(batch.events)
        self._checkpoints.advance(batch.advances)

    def make_visible(self) -> None:
        """Return once searches that start now see everything up to the checkpoint."""
        with elasticsearch_available(self._settings, index_dropped(self._index)):
            self._client.indices.refresh(index=self._index)

    def row_of(self, event: UserEvent) -> Row:
        """Return user id, version, and the expected document, all fields included; pure."""
        return _row(event["user_id"], event["version"], self._document(event))

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield all visible documents, markers included, from one point in time."""
        with self.divide_rows(1) as (all_of_them,):
            yield from self.rows_of(all_of_them)

    @contextmanager
    def divide_rows(self, parts: int) -> Iterator[Sequence[Part]]:
        """Open a point in time and slice it; see `DividesRows`."""
        with elasticsearch_available(self._settings, index_dropped(self._index)):
            opened = self._client.open_point_in_time(index=self._index, keep_alive=_KEEP_ALIVE)
        try:
            yield [(opened["id"], part, parts) for part in range(parts)]
        finally:
            with elasticsearch_available(self._settings):
                self._client.close_point_in_time(id=opened["id"])

    def rows_of(self, part: Part) -> Iterator[Sequence[Row]]:
        """Yield the documents of a slice; see `DividesRows`."""
        with elasticsearch_available(self._settings):
            yield from self._pages(*part)

    def close(self) -> None:
        """Stop the threads and close the connections."""
        self._bulk.close()
        self._client.close()

    def _pages(self, point_in_time: str, part: int, parts: int) -> Iterator[list[Row]]:
        after = None
        # Elasticsearch refuses a single slice.
        only = {"id": part, "max": parts} if parts > 1 else None
        while True:
            answer = self._client.search(
                pit={"id": point_in_time, "keep_alive": _KEEP_ALIVE},
                slice=only,
                size=_PAGE_SIZE,
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
    """Return a row that equals another only if all fields do, whichever fields there are.

    Its text, since a comparison keeps many: the `bytes` of orjson take 4 KB each, however short.
    """
    return (user_id, version, orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode())
