"""Servers and a read model that quote what they are given, as careless ones do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

from projectors.contract import Batch
from tests.examples.domains import DomainUsers, DomainVersions

QUOTING: Final = "domains=tests.integration.quoting:QuotingVersions"
ROOT: Final = Path(__file__).parents[2]


class _QuotingUsers(DomainUsers):
    """Fails with an exception that quotes the events."""

    def write(self, batch: Batch) -> None:
        """Raise, unless there is nothing to write."""
        if batch.events:
            raise ValueError(repr(batch.events))
        super().write(batch)


class QuotingVersions(DomainVersions):
    """The example's versions, in which nothing can be written."""

    def open(self, number: int) -> DomainUsers:
        """Return a version."""
        opened = super().open(number)
        columns: Sequence[str] = opened._columns
        return _QuotingUsers(number, self.file(number), columns)


class _Echo(BaseHTTPRequestHandler):
    """Answers every request with status 400 and all of the request."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        content = b'{"request": "' + self.path.encode() + body.replace(b'"', b"'").strip() + b'"}'
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the class wants these

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def echo_server() -> Iterator[str]:
    """Run a server that answers with what it was asked; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
