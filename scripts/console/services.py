"""The two services over HTTP, called with the key of the person who is signed in."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Self

import httpx2
import orjson

from runtime.network.tls import client_context
from runtime.settings import Settings
from runtime.tracing import tracing_of

# Longer than the services take to answer or to give up.
_ANSWER_SECONDS: Final = 65.0
_CONNECT_SECONDS: Final = 3.0
# Every open log page keeps a connection.
_MOST_CONNECTIONS: Final = 1_000


class Problem(Exception):
    """What a service answered instead of what it was asked for."""

    def __init__(self, status: int, members: Mapping[str, Any]) -> None:
        super().__init__(members.get("detail", ""))
        self.status = status
        self.code: str = members.get("code", "")
        self.detail: str = members.get("detail", "")
        self.next: str = members.get("next", "")
        # Only the handler knows whether an address is taken: its answer names no field.
        is_taken = self.code == "user_already_exists"
        self.field: str = members.get("field") or ("email" if is_taken else "")
        self.user_id: str | None = members.get("user_id")


class Services:
    """Calls the services. Every method raises `Problem` for an answer that is an error."""

    def __init__(self, settings: Settings) -> None:
        self._urls = {
            "commands": settings.http_commands_url.rstrip("/"),
            "queries": settings.http_queries_url.rstrip("/"),
        }
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=_MOST_CONNECTIONS),
            verify=client_context(settings.http_ca_location),
            trust_env=False,  # no proxy may see a key
            event_hooks={"request": [_add_trace_context]} if tracing_of(settings) else None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(
        self,
        key: str,
        service: str,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> httpx2.Response:
        """Return the answer of a service; parameters that are None are left out."""
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        try:
            answer = await self._client.request(
                method,
                self._urls[service] + path,
                params=given,
                headers=_headers(key, headers or {}),
                **({} if body is None else {"json": body}),
            )
        except httpx2.TransportError as error:
            raise _no_answer(service, error) from error
        _check(answer)
        return answer

    @asynccontextmanager
    async def stream(
        self, key: str, path: str, *, last: str = "", **parameters: Any
    ) -> AsyncIterator[httpx2.EventSource]:
        """Yield the server-sent events of the query service, after the event with id `last`."""
        resume = {"Last-Event-ID": last} if last else {}
        headers = _headers(key, {"Accept": "text/event-stream", **resume})
        given = {name: value for name, value in parameters.items() if value}
        endless = httpx2.Timeout(_CONNECT_SECONDS, read=None)
        try:
            async with self._client.stream(
                "GET", self._urls["queries"] + path, params=given, headers=headers, timeout=endless
            ) as answer:
                if answer.is_error:
                    await answer.aread()
                    _check(answer)
                yield httpx2.EventSource(answer)
        except httpx2.TransportError as error:
            raise _no_answer("queries", error) from error


async def _add_trace_context(request: httpx2.Request) -> None:
    """Let the service continue the trace of the page."""
    from runtime.tracing.context import headers_of

    request.headers.update(headers_of())


def _headers(key: str, others: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request. Raises `Problem` for what people cannot have meant."""
    headers = {**others, "Authorization": f"Bearer {key}"} if key else dict(others)
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            {"code": "invalid_request", "detail": "a key or an id has characters that none has"},
        )
    return headers


def _check(answer: httpx2.Response) -> None:
    if not answer.is_error:
        return
    try:
        members = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        members = None
    if not isinstance(members, dict):
        members = {"detail": f"the service answered with status {answer.status_code}"}
    raise Problem(answer.status_code, members)


def _no_answer(service: str, error: BaseException) -> Problem:
    why = error.__cause__ or error.__context__
    while why is not None and not isinstance(why, ssl.SSLCertVerificationError):
        why = why.__cause__ or why.__context__
    if why is not None:
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            {
                "code": "certificate_untrusted",
                "detail": f"the certificate of the service for {service} cannot be trusted: "
                f"{why.verify_message}",
                "next": "the setting http_ca_location of the console names the authority",
            },
        )
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        {
            "code": "unavailable",
            "detail": f"the service for {service} does not answer",
            "next": f"is `rollbook serve {service}` running? `rollbook status` shows it",
        },
    )
