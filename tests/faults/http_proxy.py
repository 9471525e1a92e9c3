"""A proxy between an HTTP client and its server that disturbs requests as networks and load do."""

import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from typing import Final, Self
from urllib.parse import urlsplit

# What concerns one connection, or is computed again.
_NOT_PASSED_ON: Final = {"connection", "transfer-encoding", "content-length", "keep-alive", "date"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the client sent it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class HttpProxy:
    """A proxy at `url` for one server; `done` is set once it has interfered.

    `refusal` returns a status for each request to be refused, None for the others. The next request
    after `lose_answer` is carried out, but its connection is cut before the answer arrives. The
    next one after `hold_back` is kept and its connection cut; `let_go` carries it out, whatever was
    written meanwhile. Both take a condition.
    """

    def __init__(self, server: str) -> None:
        place = urlsplit(server)
        self._server = (place.hostname or "", place.port or 80)
        self._next: tuple[Callable[[Request], bool], bool] | None = None
        self._lock = threading.Lock()
        self.refusal: Callable[[Request], int | None] = lambda _request: None
        self.kept: list[Request] = []
        self.done = threading.Event()
        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._listener.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._listener.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._listener.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()

    def lose_answer(self, is_wanted: Callable[[Request], bool]) -> None:
        """Carry out the next request that is wanted, but do not let its answer through."""
        self.done.clear()
        self._next = (is_wanted, True)

    def hold_back(self, is_wanted: Callable[[Request], bool]) -> None:
        """Keep the next request that is wanted until `let_go`."""
        self.done.clear()
        self._next = (is_wanted, False)

    def leave_alone(self) -> None:
        """Interfere with no request that has not come yet."""
        self._next = None
        self.refusal = lambda _request: None

    def let_go(self) -> list[Answer]:
        """Carry out the requests that were kept; return the server's answers."""
        kept, self.kept = self.kept, []
        return [self.carry_out(request) for request in kept]

    def carry_out(self, request: Request) -> Answer:
        """Send a request to the server and return its answer. Raises OSError, HTTPException."""
        with closing(HTTPConnection(*self._server)) as connection:
            connection.request(request.method, request.path, request.body, request.headers)
            found = connection.getresponse()
            return Answer(found.status, found.getheaders(), found.read())

    def answer(self, request: Request) -> Answer | None:
        """Return the answer for the client; None if its connection is to be cut."""
        if (status := self.refusal(request)) is not None:
            self.done.set()
            return _refused(status)
        with self._lock:
            chosen = self._next
            if chosen is not None and chosen[0](request):
                self._next = None
            else:
                chosen = None
        if chosen is None:
            return self.carry_out(request)
        if chosen[1]:
            self.carry_out(request)
        else:
            self.kept.append(request)
        self.done.set()
        return None


def _refused(status: int) -> Answer:
    """Return what Elasticsearch, or a load balancer in front of it, answers."""
    if status in {502, 504}:
        return Answer(status, [("content-type", "text/html")], b"<html>try again later</html>")
    headers = [("content-type", "application/json"), ("x-elastic-product", "Elasticsearch")]
    kind = "es_rejected_execution_exception" if status == 429 else "refused"
    body = f'{{"error":{{"type":"{kind}","reason":"too busy"}},"status":{status}}}'
    return Answer(status, headers, body.encode())


def _handler(proxy: HttpProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            with suppress(OSError):  # the client has gone
                super().handle_one_request()
                return
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Print nothing."""

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _NOT_PASSED_ON}
            answer = None
            with suppress(OSError, HTTPException):  # the server is down
                answer = proxy.answer(Request(self.command, self.path, headers, body))
            if answer is None:
                self.close_connection = True
                self.connection.shutdown(SHUT_RDWR)
                return
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                if name.lower() not in _NOT_PASSED_ON:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815 - http.server's names

    return Handler
