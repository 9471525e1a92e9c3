"""Limits on all of a request but its body, which uvicorn does not have: on its size and its time.

Without them, a client that sends headers slowly or without an end holds a connection or memory.
What is not HTTP is answered with a problem document, like everything else.
"""

import asyncio
from typing import Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.problem import MEDIA_TYPE, problem
from schemas.errors import Rejected

_HEAD_SECONDS: Final = 10.0
_MOST_BYTES: Final = 65_536


class Connection(HttpToolsProtocol):
    """A connection that is closed if a request's head is not complete within 10 s and 64 KiB.

    It is also closed after 64 KiB between two parts of a chunked body, or after the last one.
    """

    # Received since the request or the last part of its body.
    _bytes = 0
    _is_complete = False
    _has_body_part = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what has arrived; close the connection if too much of it is not the body."""
        self._has_body_part = False
        super().data_received(data)
        if self._is_complete and self.cycle.response_complete:
            # Empty lines. Whatever comes ends uvicorn's own limit on idle connections.
            self._expect_head()
        if self._has_body_part or self._is_complete:
            self._bytes = 0
            return
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        super().on_message_begin()
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header. A trailer is dropped: nobody has checked it, and no route needs one."""
        if self._head_timer is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Answer the request."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body, whose size the application limits."""
        self._has_body_part = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request has arrived."""
        self._is_complete = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Answer what cannot be read, and close the connection."""
        why = "the request is not HTTP, or its address is too long"
        content = orjson.dumps(problem(Rejected(why, code="invalid_request")))
        head = (
            f"HTTP/1.1 400 Bad Request\r\nContent-Type: {MEDIA_TYPE}\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()

    def _expect_head(self) -> None:
        self._stop_waiting()
        self._bytes = 0
        self._is_complete = False
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close(self) -> None:
        self.transport.close()
