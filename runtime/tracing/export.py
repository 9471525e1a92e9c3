"""Exports spans by OTLP over HTTP, in the background, without ever blocking the process.

The standard `OTEL_…` variables say where to, what is sampled and how large the queue is. Spans that
do not fit into the queue are dropped.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from runtime.process import Reminder
from runtime.tracing.conventions import SCHEMA_URL, service_attributes
from runtime.tracing.tracing import Tracing, started

FLUSH_SECONDS: Final = 2.0
_NAME: Final = "rollbook"


@contextmanager
def export_spans(service: str, instance: str) -> Iterator[None]:
    """Export the spans of this process; at the end, send what is left for at most 2 s.

    The provider is not made the global one: libraries such as Elasticsearch's client would start a
    trace for every request of a projector that is idle.
    """
    given = "" if os.environ.get("OTEL_SERVICE_NAME") else service
    attributes = service_attributes(given, instance, version(_NAME))
    provider = TracerProvider(resource=Resource.create(dict(attributes)), shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    _log_sparsely(type(exporter).__module__)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    started.append(Tracing(provider.get_tracer(_NAME, version(_NAME), schema_url=SCHEMA_URL)))
    try:
        yield
    finally:
        started.pop()
        # `shutdown` has no time limit of its own. A daemon does not keep the process from ending.
        flushing = threading.Thread(target=provider.shutdown, name="tracing", daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
        # The exporter would try again for a minute; this ends it, and the threads with it.
        exporter.shutdown()  # type: ignore[no-untyped-call]


def _log_sparsely(name: str) -> None:
    """Log why spans cannot be exported every 30 s, not for every batch of them."""
    reminder = Reminder()
    logging.getLogger(name).addFilter(lambda record: reminder.is_due(str(record.msg)))
