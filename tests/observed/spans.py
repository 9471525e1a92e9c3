"""Collects spans: those of this process in memory, and those of other processes over OTLP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


@dataclass(frozen=True)
class Seen:
    """A span that was exported; ids are hexadecimal, `parent` is empty for the root of a trace."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any] = field(default_factory=dict)
    links: frozenset[str] = frozenset()
    failed: bool = False


class SpansInMemory:
    """A tracer, and the spans that it made."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")

    def seen(self) -> list[Seen]:
        """Return the spans in the order in which they ended."""
        return list(_seen(encode_spans(self._exporter.get_finished_spans())))


class Receiver:
    """A collector: an OTLP receiver over HTTP, in this process."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.spans += _seen(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def trace(self, trace: str) -> list[Seen]:
        """Return the spans of a trace, in the order in which they began."""
        return sorted((s for s in self.spans if s.trace == trace), key=lambda s: s.start_ns)

    def paths(self, trace: str) -> set[str]:
        """Return the path to each span of a trace, as `service: name < service: name < …`."""
        return paths(self.trace(trace))


def paths(spans: list[Seen]) -> set[str]:
    """Return the path from each span to its root, as `service: name < service: name < …`."""
    by_id = {span.id: span for span in spans}

    def path(span: Seen) -> Iterator[str]:
        yield f"{span.service}: {span.name}" if span.service else span.name
        if span.parent in by_id:
            yield from path(by_id[span.parent])

    return {" < ".join(path(span)) for span in spans}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Yield a receiver that listens on a free port."""
    receiver = Receiver()
    thread = Thread(target=receiver.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


def _seen(request: Any) -> Iterator[Seen]:
    for found in request.resource_spans:
        resource = {one.key: _value(one.value) for one in found.resource.attributes}
        for scope in found.scope_spans:
            for span in scope.spans:
                yield Seen(
                    resource.get("service.name", ""),
                    span.name,
                    KINDS[span.kind],
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {one.key: _value(one.value) for one in span.attributes},
                    frozenset(link.span_id.hex() for link in span.links),
                    failed=span.status.code == 2,
                )


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
