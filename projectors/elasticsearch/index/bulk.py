"""Stores documents by bulk requests, several in flight; resends only documents that failed.

Time per user, profiled on two busy cores: Elasticsearch takes 26 µs, even with the bodies prepared.
We take 9 µs: 3.4 for decoding, 1 for checking, 2.3 for building the document, 0.3 for orjson, and
almost nothing for the client. The garbage collector would take 4 more (see `Runner`). Both sides
must be busy all the time, so the first request is small, the others are not large, and the next
batch is decoded meanwhile.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import orjson
from elasticsearch import ApiError, Elasticsearch, TransportError

from projectors.elasticsearch.client import (
    BLOCKED,
    NDJSON_HEADERS,
    explain,
    is_busy,
    is_retryable,
    unavailable,
    write_denied,
)
from projectors.elasticsearch.index.indexes import ToDocument, write_alias
from projectors.elasticsearch.index.write_lock import WritesPaused
from runtime.metrics.failures import count_failure
from runtime.process import Backoff
from runtime.settings import Settings
from schemas.errors import (
    Fenced,
    Misconfigured,
    Poisoned,
    RollbookError,
    Unavailable,
)
from schemas.records import UserEvent

# Half a megabyte. Larger requests are no cheaper per document, and the last one of a batch would
# leave a core idle for longer.
BULK_DOCUMENTS: Final = 1_250
FIRST_DOCUMENTS: Final = 500  # Elasticsearch is idle while the first request is built
IN_FLIGHT: Final = 3  # two cores index two; the third is ready when one of them is done
# With pauses of 0.1 to 0.8 s; after that the runner retries, with longer pauses.
ATTEMPTS: Final = 5
# The runner cannot stop or stay in its group meanwhile. What was stored by then is not lost: if it
# is sent again, the server has only to compare versions.
STORE_SECONDS: Final = 20.0

# Only with these types does status 400 say that this document can never be stored: a value that
# does not fit its field, a field that the mapping does not have, a term that is too long.
_REFUSED: Final = {
    "document_parsing_exception",
    "mapper_parsing_exception",
    "strict_dynamic_mapping_exception",
    "illegal_argument_exception",
}
# Status and error type of each document, without its content; answers shrink to a tenth.
_ANSWER: Final = "errors,items.*.status,items.*.error.type"
# If several bulk requests fail in different ways, the error that comes first here is raised.
_MOST_SERIOUS_FIRST: Final = (Fenced, Misconfigured, Unavailable, Poisoned)

# A user id, and the two lines of a bulk body that store the user.
Lines: TypeAlias = tuple[str, bytes]


class BulkWriter:
    """Writes to one index of users."""

    def __init__(
        self,
        settings: Settings,
        client: Elasticsearch,
        index: str,
        document: ToDocument,
    ) -> None:
        self._settings = settings
        self._client = client
        self._index = index
        self._path = f"/{write_alias(index)}/_bulk"
        self._document = document
        self._senders = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="bulk")

    def store(self, events: Sequence[UserEvent]) -> None:
        """Return once the state after every event, or a later state, is stored.

        Blocks for at most `STORE_SECONDS`. Raises `WritesPaused`; `Poisoned` if a document is
        refused (others may have been stored); `Unavailable` if Elasticsearch is unavailable, stays
        too busy or is too slow.
        """
        deadline = time.monotonic() + STORE_SECONDS
        sent = [self._senders.submit(self._send, part, deadline) for part in self._parts(events)]
        _raise_most_serious(sent)

    def close(self) -> None:
        """Stop the threads."""
        self._senders.shutdown()

    def _parts(self, events: Sequence[UserEvent]) -> Iterator[list[Lines]]:
        """Yield the events as bulk lines, built while earlier parts are being sent."""
        start, end = 0, FIRST_DOCUMENTS
        while start < len(events):
            part = events[start:end]
            yield [(event["user_id"], bulk_lines(event, self._document)) for event in part]
            start, end = end, end + BULK_DOCUMENTS

    def _send(self, part: Sequence[Lines], deadline: float) -> None:
        """Send bulk lines, and resend those that failed, until all are stored."""
        backoff = Backoff()
        why: RollbookError = unavailable(self._settings, f"too slow: {STORE_SECONDS:g} s a batch")
        for attempt in range(ATTEMPTS):
            if attempt:
                count_failure(why, is_retried=True)
                time.sleep(backoff.next_seconds())
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                break
            try:
                answer = (
                    self._client.options(request_timeout=left_seconds)
                    .perform_request(
                        "POST",
                        self._path,
                        params={"require_alias": "true", "filter_path": _ANSWER},
                        headers=NDJSON_HEADERS,
                        body=b"".join(lines for _, lines in part),
                    )
                    .body
                )
            except (ApiError, TransportError) as error:
                if not is_retryable(error):
                    raise explain(self._settings, error) from None
                why = explain(self._settings, error)
                continue
            if not answer["errors"]:
                return
            part, failure = failed_lines(self._settings, self._index, part, answer["items"])
            if failure is None:
                return
            why = failure
        raise why


def bulk_lines(event: UserEvent, document: ToDocument) -> bytes:
    """Return the two lines of a bulk body that store the state after `event`.

    The document has the user's version, so an older event never replaces a newer one. A deleted
    user is stored as a marker: Elasticsearch forgets the version of a deleted document after a
    minute, and a late event would bring the user back. Raises `Poisoned` if the user cannot be
    expressed in JSON.
    """
    action = b'{"index":{"_id":"%b","version":%d,"version_type":"external"}}\n' % (
        event["user_id"].encode(),
        event["version"],
    )
    try:
        return action + orjson.dumps(document(event), option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate
        raise Poisoned(
            "a text is not valid Unicode", code="elasticsearch_refused_document"
        ) from None


def failed_lines(
    settings: Settings, index: str, part: Sequence[Lines], items: Sequence[Mapping[str, Any]]
) -> tuple[list[Lines], Unavailable | None]:
    """Return the lines of `part` to resend, and why, from the answer's `items`.

    A version conflict is not a failure: a newer event is already stored. Raises `WritesPaused` if
    the index refuses all writes or does not exist, `Poisoned` if a document is refused,
    `Unavailable` if the index refuses it for another reason, such as that it is closed,
    `Forbidden` if we have no permission.
    """
    left: list[Lines] = []
    why: Unavailable | None = None
    refused = ""
    for (user_id, lines), item in zip(part, items, strict=True):
        result = item["index"]
        status, problem = result["status"], result.get("error", {}).get("type", "")
        if status < HTTPStatus.BAD_REQUEST or status == HTTPStatus.CONFLICT:
            continue
        if status == HTTPStatus.NOT_FOUND or (
            status == HTTPStatus.FORBIDDEN and problem == BLOCKED
        ):
            raise WritesPaused(index)
        if status == HTTPStatus.BAD_REQUEST and problem in _REFUSED:
            refused = f"Elasticsearch cannot store user {user_id}: {problem}"
        elif is_busy(status):
            left.append((user_id, lines))
            why = unavailable(settings, f"{problem} (status {status}), {ATTEMPTS} times in a row")
        elif status == HTTPStatus.BAD_REQUEST:
            raise unavailable(settings, f"index {index} refused a write: {problem} (status 400)")
        else:
            raise write_denied(f"{index}: {problem} (status {status})")
    if refused:
        raise Poisoned(refused, code="elasticsearch_refused_document")
    return left, why


def _raise_most_serious(sent: Sequence[Future[None]]) -> None:
    """Wait for all requests; raise the most serious of their errors."""
    errors = [error for future in sent if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, RollbookError):
            raise error
    for kind in _MOST_SERIOUS_FIRST:
        for error in errors:
            if isinstance(error, kind):
                raise error
