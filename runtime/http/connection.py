"""Limits on the head of a request, which uvicorn does not have: its size and its time.

Without them, a client that sends headers slowly or without an end holds a connection or memory.
What is not HTTP is answered with a problem document, like everything else.
"""

import asyncio
from typing import Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.http.problems import MEDIA_TYPE, problem
from schemas.errors import Rejected

_HEAD_SECONDS: Final = 10.0
_HEAD_BYTES: Final = 65_536


class Connection(HttpToolsProtocol):
    """A connection that is closed if a request's head is not complete within 10 s and 64 KiB."""

    _head_bytes = 0
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
        """Read what has arrived; close the connection if its head is too long."""
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Answer the request."""
        self._stop_waiting()
        super().on_headers_complete()

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
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close(self) -> None:
        self.transport.close()
