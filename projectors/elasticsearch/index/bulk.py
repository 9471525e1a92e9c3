"""Stores documents by bulk requests, several in flight, and sends again only what did not land.

Where the time of a user goes, profiled on two busy cores: 26 µs to Elasticsearch, for bodies that
are ready too; 9 µs to us, of which decoding takes 3.4, checking 1, making the document 2.3, orjson
0.3, and the client next to nothing. The collector took 4 more (see `Runner`). Both have to be busy
all the time: hence the small first request, small ones after it, and a batch decoded meanwhile.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeAlias

import orjson
from elasticsearch import ApiError, Elasticsearch, TransportError

from projectors.elasticsearch.client import NDJSON_HEADERS, explain, is_busy, unavailable
from projectors.elasticsearch.index.hold import Held
from projectors.elasticsearch.index.indexes import write_alias
from runtime.process import Backoff
from runtime.settings import Settings
from schemas.errors import Fenced, Misconfigured, Poisoned, RollbookError, Unavailable
from schemas.records import UserEvent

# Half a megabyte. Larger ones cost as much, and the last of a batch leaves a core idle for longer.
BULK_DOCUMENTS: Final = 1_250
FIRST_DOCUMENTS: Final = 500  # Elasticsearch has nothing to do while the first are made
IN_FLIGHT: Final = 3  # two cores index two, and the third is there when one of them is done
ATTEMPTS: Final = 5  # with pauses of 0.1 to 0.8 s; after that the runner's longer pauses take over

_BAD_REQUEST = 400
_FORBIDDEN = 403
_NOT_FOUND = 404
_CONFLICT = 409
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
_BLOCKED: Final = "cluster_block_exception"
# What went wrong with which document, and nothing of what is in it; answers shrink to a tenth.
_ANSWER: Final = "errors,items.*.status,items.*.error.type"
# When several bulk requests fail in different ways, the one that says most about what to do next.
_GRAVITY: Final = (Fenced, Misconfigured, Unavailable, Poisoned)

# A user's id, and the two lines of a bulk body that store the user.
Lines: TypeAlias = tuple[str, bytes]


class BulkWriter:
    """Writes to one index of users."""

    def __init__(
        self,
        settings: Settings,
        client: Elasticsearch,
        index: str,
        document: Callable[[UserEvent], dict[str, Any]],
    ) -> None:
        self._settings = settings
        self._client = client
        self._index = index
        self._path = f"/{write_alias(index)}/_bulk"
        self._document = document
        self._senders = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="bulk")

    def store(self, events: Sequence[UserEvent]) -> None:
        """Return once the state after every event, or a later one, is stored.

        Raises `Held` if writers may not write, `Poisoned` if a document is refused (others may have
        landed), `Unavailable` if Elasticsearch is away or stays too busy.
        """
        sent = [self._senders.submit(self._send, part) for part in self._parts(events)]
        _raise_gravest(sent)

    def close(self) -> None:
        """Let go of threads."""
        self._senders.shutdown()

    def _parts(self, events: Sequence[UserEvent]) -> Iterator[list[Lines]]:
        """Yield the events as bulk lines; made while others are sent, so the first are few."""
        start, end = 0, FIRST_DOCUMENTS
        while start < len(events):
            part = events[start:end]
            yield [(event["user_id"], bulk_lines(event, self._document)) for event in part]
            start, end = end, end + BULK_DOCUMENTS

    def _send(self, part: Sequence[Lines]) -> None:
        """Send bulk lines, and again those that did not land, until all did."""
        backoff = Backoff()
        why: RollbookError | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(backoff.next_seconds())
            try:
                answer = self._client.perform_request(
                    "POST",
                    self._path,
                    params={"require_alias": "true", "filter_path": _ANSWER},
                    headers=NDJSON_HEADERS,
                    body=b"".join(lines for _, lines in part),
                ).body
            except (ApiError, TransportError) as error:
                if not is_busy(error):
                    raise explain(self._settings, error) from None
                why = explain(self._settings, error)
                continue
            if not answer["errors"]:
                return
            part, why = unsent(self._settings, self._index, part, answer["items"])
            if not part:
                return
        assert why is not None  # noqa: S101 - there was an attempt, and it failed
        raise why


def bulk_lines(event: UserEvent, document: Callable[[UserEvent], dict[str, Any]]) -> bytes:
    """Return the two lines of a bulk body that store the state after `event`.

    The user's version is the document's, so that an older event never replaces a newer one. It
    must be stored for a user who is gone as well, as a marker: Elasticsearch forgets the version of
    a deleted document after a minute, and a late event would bring the user back. Raises `Poisoned`
    if JSON has no place for it.
    """
    action = b'{"index":{"_id":"%b","version":%d,"version_type":"external"}}\n' % (
        event["user_id"].encode(),
        event["version"],
    )
    try:
        return action + orjson.dumps(document(event), option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate
        raise Poisoned("a text is no UTF-8", code="elasticsearch_refused_document") from None


def unsent(
    settings: Settings, index: str, part: Sequence[Lines], items: Sequence[Mapping[str, Any]]
) -> tuple[list[Lines], Unavailable | None]:
    """Return what of `part` has to be sent again, and why, from the answer's `items`.

    A conflict is an old event: all is well. Raises `Held` if writers may not write now, or never
    again, `Poisoned` if a document is refused, `Misconfigured` if we are.
    """
    left: list[Lines] = []
    why: Unavailable | None = None
    refused = ""
    for (user_id, lines), item in zip(part, items, strict=True):
        result = item["index"]
        status, problem = result["status"], result.get("error", {}).get("type", "")
        if status < _BAD_REQUEST or status == _CONFLICT:
            continue
        if status == _NOT_FOUND or (status == _FORBIDDEN and problem == _BLOCKED):
            raise Held(index)
        if status == _BAD_REQUEST:
            refused = f"Elasticsearch cannot store user {user_id}: {problem}"
        elif status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
            left.append((user_id, lines))
            why = unavailable(settings, f"{problem} (status {status}), {ATTEMPTS} times in a row")
        else:
            raise Misconfigured(
                f"Elasticsearch lets us not write to {index}: {problem} (status {status})",
                code="elasticsearch_forbidden",
            )
    if refused:
        raise Poisoned(refused, code="elasticsearch_refused_document")
    return left, why


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
