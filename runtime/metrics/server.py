"""The HTTP server of `/metrics`, `/livez` and `/readyz`: a thread for each of a few requests."""

import logging
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any, Final

import orjson

from runtime.metrics.exposition import render
from runtime.metrics.source import Source
from runtime.problem import MEDIA_TYPE, problem
from schemas.errors import Rejected, Unavailable

log = logging.getLogger(__name__)

_MOST_REQUESTS: Final = 16
_IDLE_SECONDS: Final = 10.0
_PATHS: Final = ("/metrics", "/livez", "/readyz")
_JSON: Final = "application/json"


class MetricsServer(ThreadingHTTPServer):
    """Answers for `source` at a bound socket; closes connections beyond a few at once."""

    daemon_threads = True

    def __init__(self, bound: socket, source: Source) -> None:
        super().__init__(("", 0), _Answer, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.source = source
        self._slots = threading.BoundedSemaphore(_MOST_REQUESTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if one is free."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, then let another request have the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - inherited
        """Log what ended a request: most often its client has gone."""
        log.debug("a request for metrics failed: %s", type(sys.exception()).__name__)


class _Answer(BaseHTTPRequestHandler):
    """One request after the other of a connection."""

    server: MetricsServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        """Answer a probe, or with the metrics."""
        match self.path.partition("?")[0]:
            case "/metrics":
                state = self.server.source.state()
                self._send(200, *render(state.families, self.headers.get("Accept", "")))
            case "/livez":
                self._send(200, orjson.dumps({"status": "alive"}), _JSON)
            case "/readyz":
                self._send_readiness(self.server.source.state().missing)
            case _:
                unknown = Rejected("there is nothing at this path", code="path_not_found")
                document = problem(unknown, next=f"the paths are {', '.join(_PATHS)}")
                self._send(404, orjson.dumps(document), MEDIA_TYPE)

    do_HEAD = do_GET  # noqa: N815 - inherited

    def _send_readiness(self, missing: list[dict[str, Any]]) -> None:
        """Answer 200 if nothing is missing, else 503 with a problem document of the first lack."""
        if not missing:
            self._send(200, orjson.dumps({"status": "ready"}), _JSON)
            return
        first = Unavailable(missing[0]["detail"], code=missing[0]["code"])
        document = problem(first, next=missing[0]["next"], status=503, missing=missing)
        self._send(503, orjson.dumps(document), MEDIA_TYPE)

    def _send(self, status: int, body: bytes, media_type: str) -> None:
        self.send_response(HTTPStatus(status))
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Name no software and no version."""
        return "rollbook"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited
        """Log no request: they come every few seconds."""
