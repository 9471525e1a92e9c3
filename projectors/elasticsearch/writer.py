"""Keeps the index of users up to date: bulk requests, several in flight, then the checkpoint."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from elasticsearch import ApiError, TransportError

from projectors.elasticsearch.checkpoints import NDJSON_HEADERS, Checkpoints
from projectors.elasticsearch.client import (
    connect,
    elasticsearch_available,
    explain,
    is_busy,
    unavailable,
)
from projectors.elasticsearch.indexes import (
    CHECKPOINTS_INDEX,
    USERS_INDEX,
    checkpoints_index,
    users_index,
    write_alias,
)
from projectors.elasticsearch.mapping import bulk_lines
from projectors.read_model import Batch, Position
from projectors.source import LATEST_STATE
from runtime.process import Backoff
from runtime.settings import Settings
from schemas.errors import Fenced, Misconfigured, Poisoned, RollbookError, Unavailable
from schemas.records import UserEvent

BULK_DOCUMENTS: Final = 2_500  # about 1 MB; larger ones gain nothing, smaller ones cost round trips
IN_FLIGHT: Final = 2  # one is parsed while another is indexed; a third gains nothing on 2 cores
ATTEMPTS: Final = 5  # with pauses of 0.1 to 0.8 s; after that the runner's longer pauses take over

_BAD_REQUEST = 400
_NOT_FOUND = 404
_CONFLICT = 409
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
# What went wrong with which document, and nothing of what is in it; answers shrink to a tenth.
_ANSWER: Final = "errors,items.*.status,items.*.error.type"
# When several bulk requests fail in different ways, the one that says most about what to do next.
_GRAVITY: Final = (Fenced, Misconfigured, Unavailable, Poisoned)


class ElasticsearchUsers:
    """The read model `elasticsearch`: one document a user, a marker for those who are gone.

    Documents land first, the checkpoint after: what is between is applied again after a crash, and
    the version of each document makes that harmless. One thread at a time may use it.
    """

    name: Final = "elasticsearch"
    source: Final = LATEST_STATE

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = connect(settings)
        self._index = settings.named(USERS_INDEX)
        self._bulk_path = f"/{write_alias(settings)}/_bulk"
        self._checkpoints = Checkpoints(settings, self._client)
        self._index_uuid: str | None = None
        self._senders = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="bulk")

    def prepare(self) -> None:
        """Create both indexes if they are missing. Idempotent; safe from several processes."""
        bodies = {
            self._settings.named(CHECKPOINTS_INDEX): checkpoints_index(self._settings),
            self._index: users_index(self._settings),
        }
        with elasticsearch_available(self._settings):
            for name, body in bodies.items():
                answer = self._client.options(ignore_status=_BAD_REQUEST).indices.create(
                    index=name, **body
                )
                problem = answer.get("error", {}).get("type")
                if problem not in {None, "resource_already_exists_exception"}:
                    raise Misconfigured(
                        f"index {name} cannot be created: {problem}", code="elasticsearch_refused"
                    )
        self._index_uuid = self._find_uuid()

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition; none before the first `prepare`."""
        self._index_uuid = self._find_uuid()
        return self._checkpoints.read(self._index_uuid) if self._index_uuid else {}

    def write(self, batch: Batch) -> None:
        """Store the users after `batch`, then advance the checkpoint.

        Raises `Fenced` if a partition is not where the batch begins or the index was removed,
        `Poisoned` if Elasticsearch refuses a document (others of the batch may have landed),
        `Unavailable` if it is away or stays too busy.
        """
        if self._index_uuid is None:
            self._index_uuid = self._find_uuid()
        self._checkpoints.check(batch.advances, self._index_uuid)
        sent = [self._senders.submit(self._send, part) for part in _parts(batch.events)]
        _raise_gravest(sent)
        self._checkpoints.advance(batch.advances, self._index_uuid)

    def reset(self) -> None:
        """Remove the checkpoint, the index and its aliases.

        The checkpoint goes first, so that a projector that still runs is fenced, and a crash
        between the two means a replay over what is there, never a gap.
        """
        self.prepare()
        self._checkpoints.remove()
        with elasticsearch_available(self._settings):
            self._client.options(ignore_status=_NOT_FOUND).indices.delete(index=self._index)
        self._index_uuid = None

    def close(self) -> None:
        """Let go of threads and connections."""
        self._senders.shutdown()
        self._client.close()

    def _find_uuid(self) -> str | None:
        with elasticsearch_available(self._settings):
            answer = self._client.options(ignore_status=_NOT_FOUND).indices.get_settings(
                index=self._index, name="index.uuid"
            )
        found: dict[str, Any] = answer.get(self._index, {})
        return found["settings"]["index"]["uuid"] if found else None

    def _send(self, part: Sequence[tuple[str, bytes]]) -> None:
        """Send bulk lines, and again those that did not land, until all did."""
        backoff = Backoff()
        how = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(backoff.next_seconds())
            try:
                answer = self._client.perform_request(
                    "POST",
                    self._bulk_path,
                    params={"require_alias": "true", "filter_path": _ANSWER},
                    headers=NDJSON_HEADERS,
                    body=b"".join(lines for _, lines in part),
                ).body
            except (ApiError, TransportError) as error:
                if not is_busy(error):
                    raise explain(self._settings, error) from None
                how = str(explain(self._settings, error))
                continue
            if not answer["errors"]:
                return
            part, how = self._left(part, answer["items"])
            if not part:
                return
        raise unavailable(self._settings, f"{how}, {ATTEMPTS} times in a row")

    def _left(
        self, part: Sequence[tuple[str, bytes]], items: Sequence[dict[str, Any]]
    ) -> tuple[list[tuple[str, bytes]], str]:
        """Return what has to be sent again and why; raise for what cannot be."""
        left, how, refused = [], "", ""
        for (user_id, lines), item in zip(part, items, strict=True):
            result = item["index"]
            status, problem = result["status"], result.get("error", {}).get("type", "")
            if (
                status < _BAD_REQUEST or status == _CONFLICT
            ):  # a conflict: an old event, all is well
                continue
            if status == _NOT_FOUND:
                raise Fenced(
                    f"index {self._index} was removed while we wrote to it",
                    next_step="start the projector again: it begins anew",
                )
            if status == _BAD_REQUEST:
                refused = f"Elasticsearch cannot store user {user_id}: {problem}"
            elif status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
                left.append((user_id, lines))
                how = f"{problem} (status {status})"
            else:
                raise unavailable(self._settings, f"{problem} (status {status})")
        if refused:
            raise Poisoned(refused, code="elasticsearch_refused_document")
        return left, how


def _parts(events: Sequence[UserEvent]) -> Iterator[list[tuple[str, bytes]]]:
    """Yield the events as bulk lines, `BULK_DOCUMENTS` at a time; made while others are sent."""
    for start in range(0, len(events), BULK_DOCUMENTS):
        part = events[start : start + BULK_DOCUMENTS]
        yield [(event["user_id"], bulk_lines(event)) for event in part]


def _raise_gravest(sent: Sequence[Future[None]]) -> None:
    """Wait for all; raise the gravest of what they raised."""
    errors = [error for future in sent if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, RollbookError):
            raise error
    for kind in _GRAVITY:
        for error in errors:
            if isinstance(error, kind):
                raise error
