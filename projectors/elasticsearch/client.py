"""The connection to Elasticsearch, and what its failures mean in our tree of errors.

No error here repeats what Elasticsearch says beyond a status and an error type: its reasons quote
the document, which is personal data.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from elasticsearch import (
    ApiError,
    ConnectionTimeout,
    Elasticsearch,
    OrjsonSerializer,
    TransportError,
    UnsupportedProductError,
)

from runtime.settings import Settings
from schemas.errors import Misconfigured, RollbookError, Unavailable

REQUEST_TIMEOUT_SECONDS = 30.0
# Who asks a question waits for less than who writes thousands of documents.
QUERY_TIMEOUT_SECONDS = 10.0
NDJSON_HEADERS = {"content-type": "application/x-ndjson", "accept": "application/json"}

_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
_NOT_ALLOWED = {401, 403}


def connect(
    settings: Settings, *, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS
) -> Elasticsearch:
    """Return a client; nothing is sent yet. Raises `Misconfigured` for a URL it cannot use."""
    login = None
    if settings.elasticsearch_username:
        login = (settings.elasticsearch_username, settings.elasticsearch_password)
    try:
        return Elasticsearch(
            settings.elasticsearch_url,
            basic_auth=login,
            request_timeout=timeout_seconds,
            serializer=OrjsonSerializer(),  # the standard library's takes three times as long
            # Only the caller knows what may be sent twice: a checkpoint may not.
            max_retries=0,
        )
    except ValueError as error:
        raise Misconfigured(
            f"setting elasticsearch_url cannot be used: {error}",
            code="bad_setting",
            next_step="write it as http://host:port",
        ) from None


@contextmanager
def elasticsearch_available(settings: Settings) -> Iterator[None]:
    """Turn an error of the client within into one of ours, by `explain`."""
    try:
        yield
    except (ApiError, TransportError) as error:
        raise explain(settings, error) from None


def is_busy(error: ApiError | TransportError) -> bool:
    """Whether the same request may succeed in a moment: overloaded, timed out, or a server error.

    A server that refuses the connection is away, which is for the caller of the caller to wait for.
    """
    if isinstance(error, ApiError):
        return error.meta.status == _TOO_MANY_REQUESTS or error.meta.status >= _SERVER_ERROR
    return isinstance(error, ConnectionTimeout)


def explain(settings: Settings, error: ApiError | TransportError) -> RollbookError:
    """Return `Unavailable` for what passes by itself, `Misconfigured` for what does not."""
    where = f"Elasticsearch at {settings.elasticsearch_url}"
    if isinstance(error, UnsupportedProductError):
        return Misconfigured(f"{where} is another product", code="other_product")
    if isinstance(error, ApiError) and not is_busy(error):
        status = error.meta.status
        if status in _NOT_ALLOWED:
            return Misconfigured(
                f"{where} does not let us in (status {status})",
                code="elasticsearch_forbidden",
                next_step="check elasticsearch_username and elasticsearch_password",
            )
        return Misconfigured(
            f"{where} refused a request: {error.message} (status {status})",
            code="elasticsearch_refused",
            next_step="is it Elasticsearch 9, with indexes made by this rollbook?",
        )
    how = f"status {error.meta.status}" if isinstance(error, ApiError) else type(error).__name__
    return unavailable(settings, how)


def unavailable(settings: Settings, how: str) -> Unavailable:
    """Return the `Unavailable` that says where Elasticsearch should be and how it failed."""
    return Unavailable(
        f"Elasticsearch at {settings.elasticsearch_url} failed: {how}",
        code="elasticsearch_unavailable",
        next_step="is it running? `rollbook status`, or `rollbook up` for a local one",
    )
