"""A page of the console and what it asks the services for are in one trace."""

import asyncio
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from opentelemetry.trace import use_span

from runtime.settings import Settings
from runtime.tracing import tracing
from runtime.tracing.tracing import Tracing
from scripts.console.services import Services
from tests.observed.spans import SpansInMemory


class Service(BaseHTTPRequestHandler):
    """Answers with the `traceparent` that it was called with."""

    def do_GET(self) -> None:
        found = self.headers.get("traceparent", "").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize("setting", ["", "otlp"])
def test_a_service_is_called_in_the_trace_of_the_page(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    made = Tracing(SpansInMemory().tracer)
    monkeypatch.setattr(tracing, "started", [made])
    page = made.request("GET", "http", None)
    server = HTTPServer(("127.0.0.1", 0), Service)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    async def ask() -> str:
        async with Services(Settings(tracing=setting, http_queries_url=url)) as services:
            with use_span(page):
                return (await services.send("", "queries", "GET", "/users")).text

    try:
        carried = asyncio.run(ask())
    finally:
        server.shutdown()
        server.server_close()
    context = page.get_span_context()
    ids = f"00-{context.trace_id:032x}-{context.span_id:016x}"
    expected = f"{ids}-{context.trace_flags:02x}" if setting else ""
    assert carried == expected
