"""What every request passes: who may call from where, its limits, the access log, failures.

The access log names the route (`/users/{user_id}`), never the path, the query string or the body:
those may hold personal data.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.http.admission import admit, has_body
from runtime.http.measure import Requests, route_of
from runtime.http.problems import CODE, problem_response
from schemas.errors import NotInTime, Rejected, RollbookError, Unavailable

log = logging.getLogger("runtime.http.access")
failures = logging.getLogger(__name__)

PROBES: Final = frozenset({"/livez", "/readyz"})
# The scope's key for who calls, which `runtime.http.authorise` writes.
CALLER: Final = "rollbook.caller"
_AT_ONCE: Final = 1000
_DISCONNECTED: Final = 499  # as nginx logs it; nobody receives it
# An answer may hold personal data, so no cache may keep it, unless its route says otherwise.
_NO_STORE: Final = (b"cache-control", b"no-store")
_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")


@dataclass(frozen=True, slots=True)
class Limits:
    """`is_open`: without keys. `streams`: the paths whose bodies may have any length."""

    body_bytes: int
    request_seconds: float
    origins: frozenset[str]
    is_open: bool
    streams: frozenset[str]
    media_types: frozenset[str]


class Guard:
    """ASGI middleware around a service; probes pass it unchecked and unlogged."""

    def __init__(self, app: ASGIApp, limits: Limits, requests: Requests) -> None:
        self._app = app
        self._limits = limits
        self._requests = requests
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        began = self._requests.begin()
        exchange = _Exchange(scope, receive, send, self._limits)
        try:
            with self._counted():
                self._admit(scope, exchange.headers)
                await self._answer(scope, exchange)
        except RollbookError as error:
            await exchange.refuse(error)
        except ClientDisconnect:
            exchange.status = _DISCONNECTED
        except Exception as error:  # noqa: BLE001 - logged, and answered
            name = type(error).__name__
            failures.exception("%s %s: unexpected %s", scope["method"], route_of(scope), name)
            await exchange.refuse(RollbookError("the service failed unexpectedly"))
        finally:
            seconds = self._requests.end(scope, exchange.status, began)
            caller = scope.get(CALLER)
            log.info(
                "%s %s %d %.1f ms %s",
                scope["method"],
                route_of(scope) or "-",
                exchange.status,
                seconds * 1000,
                (caller and caller.name) or "-",
                extra={"code": scope.get(CODE, "")},
            )

    def _admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        limits = self._limits
        admit(scope, headers, limits.origins, limits.media_types, is_open=limits.is_open)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._running >= _AT_ONCE:
            raise Unavailable("the service is busy", code="service_busy")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        try:
            async with asyncio.timeout(self._limits.request_seconds) as exchange.deadline:
                await self._app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            if not exchange.deadline.expired():
                raise
            raise exchange.overdue() from None


class _Exchange:
    """One request and its answer, with the limits on both."""

    deadline: asyncio.Timeout

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._is_stream = scope["path"] in limits.streams
        self._most_bytes = limits.body_bytes
        self._seconds = limits.request_seconds
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._is_complete = not has_body(self.headers)
        self._bytes = 0
        self.status = 0
        if self._is_stream:
            # Below 2.4, Starlette looks for a disconnect while it answers, and so would take parts
            # of the body from the route that reads them.
            scope["asgi"] = {**scope.get("asgi", {}), "spec_version": "2.4"}

    async def receive(self) -> Message:
        """Return the next part of the body. Raises `Rejected` past a limit."""
        if self._is_complete:
            return await self._receive()
        if not self._is_stream:
            message = await self._receive()
        else:
            try:
                async with asyncio.timeout(self._seconds):
                    message = await self._receive()
            except TimeoutError:
                raise self.overdue() from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most_bytes and not self._is_stream:
            raise Rejected(
                f"the body is larger than {self._most_bytes} bytes", code="body_too_large"
            )
        self._is_complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer. Raises TimeoutError if the client does not take it in time.

        A stream may last, and may be silent: once it has begun, only sending a part has a limit.
        """
        is_start = message["type"] == "http.response.start"
        if is_start:
            self.status = message["status"]
            _complete_headers(message)
        if not _has_length(message) if is_start else message.get("more_body", False):
            self.deadline.reschedule(None)
        if self.deadline.when() is not None:
            await self._send(message)
            return
        async with asyncio.timeout(self._seconds):
            await self._send(message)

    def overdue(self) -> RollbookError:
        """Return what to answer when the time is over."""
        if not self._is_complete:
            return Rejected("the body did not arrive in time", code="body_too_slow")
        return NotInTime(
            f"the request was not answered within {self._seconds:g} s", code="request_not_in_time"
        )

    async def refuse(self, error: RollbookError) -> None:
        """Answer with `error`; an answer that has begun stays incomplete, which clients notice."""
        if self.status:
            return
        # What is left of the body is not read, so the connection cannot be used again.
        headers = None if self._is_complete else {"Connection": "close"}
        response = problem_response(error, headers=headers)
        self.status = response.status_code
        response.raw_headers.append(_NO_SNIFFING)
        await response(self._scope, self._receive, self._send)


def _has_length(start: Message) -> bool:
    return any(name == b"content-length" for name, _ in start["headers"])


def _complete_headers(message: Message) -> None:
    headers = message.setdefault("headers", [])
    headers.append(_NO_SNIFFING)
    if not any(name == b"cache-control" for name, _ in headers):
        headers.append(_NO_STORE)
