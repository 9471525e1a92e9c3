"""Connections to Elasticsearch, and the translation of its errors into ours.

Our errors repeat only the status and the error type: the reasons that Elasticsearch gives quote the
document, which is personal data.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from elastic_transport import HttpHeaders, Transport
from elastic_transport.client_utils import basic_auth_to_header
from elasticsearch import (
    ApiError,
    ConnectionTimeout,
    Elasticsearch,
    NotFoundError,
    OrjsonSerializer,
    SSLError,
    TransportError,
    UnsupportedProductError,
)
from elasticsearch import ConnectionError as ConnectionFailed

from runtime.configuration.logins import urls_of
from runtime.network.tls import client_context, http_server, why_tls_fails
from runtime.settings import Settings
from schemas.errors import (
    CHECK_SERVER,
    GRANT,
    Forbidden,
    Misconfigured,
    RollbookError,
    TlsFailed,
    Unavailable,
)

REQUEST_TIMEOUT_SECONDS = 30.0
# Shorter, because people wait for the answer of a query.
QUERY_TIMEOUT_SECONDS = 10.0
BLOCKED: Final = "cluster_block_exception"
_SECURITY: Final = "security_exception"
NDJSON_HEADERS = {"content-type": "application/x-ndjson", "accept": "application/json"}


class _Client(Elasticsearch):
    """Notes on each error which request it answers: a proxy that refuses one does not say that."""

    def perform_request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request, as `Elasticsearch` does."""
        try:
            return super().perform_request(method, path, **options)
        except ApiError as error:
            error.add_note(f"{method} {path.partition('?')[0]}")
            raise


class _Transport(Transport):
    """Sends the login with each request: its secret may be another than before."""

    login: Callable[[], dict[str, str]] = staticmethod(dict)

    def perform_request(self, method: str, target: str, **options: Any) -> Any:
        """Send a request, as `Transport` does."""
        headers = HttpHeaders(options.pop("headers", None) or {})
        headers.update(self.login())
        return super().perform_request(method, target, headers=headers, **options)


def connect(
    settings: Settings, *, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS, is_query: bool = False
) -> Elasticsearch:
    """Return a client of all nodes; it sends nothing yet.

    A request that a node does not answer at all is sent to the others only if `is_query`: it must
    be safe to repeat. Raises `Misconfigured` for an invalid URL.
    """
    nodes = urls_of(settings.elasticsearch_url)
    tls: dict[str, Any] = {}
    if nodes[0].startswith("https://"):
        tls = {"ssl_context": client_context(settings.elasticsearch_ca_location)}
    try:
        client = _Client(
            nodes,
            transport_class=_Transport,
            request_timeout=timeout_seconds,
            serializer=OrjsonSerializer(),  # the standard library's takes three times as long
            # Only the caller knows which requests are safe to repeat; a checkpoint is not.
            max_retries=len(nodes) - 1 if is_query else 0,
            **tls,
        )
    except ValueError as error:
        raise Misconfigured(
            f"the setting elasticsearch_url is invalid: {error}",
            code="bad_setting",
            next_step="write it as http://host:port",
        ) from None
    transport: Any = client.transport
    transport.login = partial(_login, settings)
    return client


def _login(settings: Settings) -> dict[str, str]:
    """Return the header of one request that says who sends it; none without a login."""
    if settings.elasticsearch_api_key:
        return {"authorization": f"ApiKey {settings.secret('elasticsearch_api_key')}"}
    if not settings.elasticsearch_username:
        return {}
    login = (settings.elasticsearch_username, settings.secret("elasticsearch_password"))
    return {"authorization": basic_auth_to_header(login)}


@contextmanager
def elasticsearch_available(
    settings: Settings, missing: RollbookError | None = None
) -> Iterator[None]:
    """Turn an error of the client into one of ours: `missing` for a 404, else as `explain` does."""
    try:
        yield
    except (ApiError, TransportError) as error:
        not_found = isinstance(error, NotFoundError)
        raise missing if missing and not_found else explain(settings, error) from None


def is_busy(status: int) -> bool:
    """Return whether a request with this status may succeed soon: overload or a server error."""
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def is_closed_or_blocked(error_type: str) -> bool:
    """Return whether a request was refused because of the state of its index or of the cluster.

    An administrator closed or blocked it and can undo that. The status alone does not show it: for
    a closed index it is 400, as for a document that can never be stored; for a block it is 403, but
    no permission is missing.
    """
    return error_type in {"index_closed_exception", BLOCKED}


def is_retryable(error: ApiError | TransportError) -> bool:
    """Return whether the same request may succeed soon.

    A refused connection is not retried here, because the projector itself waits for the server.
    """
    if isinstance(error, ApiError):
        return is_busy(error.meta.status)
    return isinstance(error, ConnectionTimeout)


def explain(settings: Settings, error: ApiError | TransportError) -> RollbookError:
    """Return `Unavailable` for a temporary failure, `Misconfigured` for a permanent one.

    A denied login or privilege is `Forbidden`.
    """
    where = f"Elasticsearch at {settings.elasticsearch_url}"
    if isinstance(error, UnsupportedProductError):
        return Misconfigured(f"{where} is another product", code="other_product")
    if isinstance(error, ApiError) and is_closed_or_blocked(error.error):
        return unavailable(settings, f"{error.error} (status {error.meta.status})")
    if isinstance(error, ApiError) and not is_retryable(error):
        status = error.meta.status
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return _denied(settings, where, error)
        return Misconfigured(
            f"{where} refused a request: {_error_type(error)} (status {status})",
            code="elasticsearch_refused",
            next_step="check that it is Elasticsearch 9, with indexes created by this rollbook",
        )
    if isinstance(error, ConnectionFailed) and (trouble := _tls_trouble(settings, error)):
        return trouble
    how = f"status {error.meta.status}" if isinstance(error, ApiError) else type(error).__name__
    return unavailable(settings, how)


def _denied(settings: Settings, where: str, error: ApiError) -> Forbidden:
    """Return the error for a login or a privilege that is refused."""
    status = error.meta.status
    missing = (
        f"it does not accept the login of {_login_settings(settings)}"
        if status == HTTPStatus.UNAUTHORIZED
        else _missing_privilege(error)
    )
    return Forbidden(
        f"{where} denies access (status {status}): {missing}",
        code="elasticsearch_forbidden",
        next_step=GRANT,
    )


def _tls_trouble(settings: Settings, error: ConnectionFailed) -> TlsFailed | None:
    """Return what is wrong with TLS, if that is why a connection failed."""
    for url in urls_of(settings.elasticsearch_url):
        server = http_server("elasticsearch", url, settings.elasticsearch_ca_location)
        is_outage = server.uses_tls and not isinstance(error, SSLError)
        if not is_outage and (trouble := why_tls_fails(server)):
            return trouble
    return None


def _login_settings(settings: Settings) -> str:
    if settings.elasticsearch_api_key:
        return "elasticsearch_api_key"
    return "elasticsearch_username and elasticsearch_password"


def _error_type(error: ApiError) -> str:
    """Return Elasticsearch's name for the error; without one, the client's message is the body."""
    name = str(error.message)
    return name if re.fullmatch(r"\w{1,60}", name) else "unknown error"


def _missing_privilege(error: ApiError) -> str:
    if error.message == _SECURITY:
        return reason_of(error)
    request = " ".join(getattr(error, "__notes__", ())) or "a request"
    return f"{request} is not permitted"


def reason_of(error: ApiError) -> str:
    """Return the reason; only for requests without a document, which it might quote."""
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("error", {}).get("reason") or error.message)


def write_denied(where: str) -> Forbidden:
    """Return the error for a write that is denied; `where` names the index and the status."""
    return Forbidden(
        f"Elasticsearch denies writing to {where}; "
        "elasticsearch_username needs the privilege write on it",
        code="elasticsearch_forbidden",
        next_step=GRANT,
    )


def unavailable(settings: Settings, how: str) -> Unavailable:
    """Return the `Unavailable` that names the server and how it failed."""
    return Unavailable(
        f"Elasticsearch at {settings.elasticsearch_url} failed: {how}",
        code="elasticsearch_unavailable",
        next_step=CHECK_SERVER,
    )
