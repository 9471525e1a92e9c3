"""Servers and a read model that quote what they are given, as careless ones do."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

from projectors.contract import Batch, Settings
from tests.examples.domains import DomainUsers, DomainVersions

LOUD: Final = "domains=tests.integration.quoting:LoudVersions"
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


class LoudVersions(DomainVersions):
    """Cannot be opened, with an exception that quotes the settings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        raise ValueError(f"{settings} {settings.registry_password}")


class _Echo(BaseHTTPRequestHandler):
    """Answers every request with a status that refuses it, and all of the request."""

    status, location = 400, ""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        asked = f"{self.path} {self.headers}".encode() + body
        content = json.dumps({"request": asked.decode(errors="replace")}).encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("location", self.location)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the class wants these

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def echo_server(status: int = 400, location: str = "") -> Iterator[str]:
    """Run a server that refuses everything and answers with what it was asked; yield its URL."""
    echo = type("Echo", (_Echo,), {"status": status, "location": location})
    with ThreadingHTTPServer(("127.0.0.1", 0), echo) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
