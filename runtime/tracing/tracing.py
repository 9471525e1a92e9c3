"""Makes spans: of a request, of a command that is sent, of a batch of records."""

from importlib.metadata import version
from time import time_ns
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_tracer,
    set_span_in_context,
)

from runtime.tracing import conventions
from runtime.tracing.context import Headers, record_headers, span_context
from runtime.tracing.conventions import Attributes
from schemas.records import UserCommand

_NOWHERE: Final = Context()


def library_tracer() -> Tracer:
    """Return the tracer of rollbook's clients in a program that has its own tracer provider."""
    return get_tracer("rollbook", version("rollbook"), schema_url=conventions.SCHEMA_URL)


def fail(span: Span, kind: str) -> None:
    """Note that what a span describes failed; `kind` is as `kind_of` returns it."""
    span.set_attribute(conventions.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR))


def kind_of(error: BaseException) -> str:
    """Return what a span says of an error: its code or its class, never its message."""
    return getattr(error, "code", None) or type(error).__name__.lstrip("_")


class Tracing:
    """Makes the spans of one process; safe for threads."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def request(self, method: str, scheme: str, parent: Context | None) -> Span:
        """Return the span of a request that has arrived; `parent` is what its headers carry."""
        return self._tracer.start_span(
            conventions.request_name(method),
            parent or _NOWHERE,
            SpanKind.SERVER,
            conventions.request(method, scheme),
        )

    def send_command(self, topic: str, partition: int, command: UserCommand) -> "SendSpan":
        """Return the span of a command that is about to be sent, below the current span."""
        span = self._tracer.start_span(
            conventions.send_name(topic),
            kind=SpanKind.PRODUCER,
            attributes={
                **conventions.sending(topic, partition),
                conventions.COMMAND_ID: command["command_id"],
                conventions.COMMAND_KIND: command["kind"],
            },
        )
        return SendSpan(span)

    def batch(self, topic: str, group: str) -> "BatchSpans":
        """Return the spans of a batch of records that a consumer group processes together."""
        return BatchSpans(self._tracer, topic, group)


# The last is what this process exports with; empty where the program that imports us does.
started: list[Tracing] = []


class SendSpan:
    """The span of one record on its way to the log, which carries the span's context."""

    __slots__ = ("_is_over", "_span", "headers")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._is_over = False
        self.headers: Headers = record_headers(set_span_in_context(span, _NOWHERE))

    def confirm(self, offset: int) -> None:
        """Note the place that a broker has confirmed."""
        if not self._is_over:
            self._span.set_attributes(conventions.sent_at(offset))
            self._end()

    def give_up(self) -> None:
        """Note that no broker has confirmed it, unless one has."""
        if not self._is_over:
            fail(self._span, "not_confirmed")
            self._end()

    def _end(self) -> None:
        self._is_over = True
        self._span.end()


class BatchSpans:
    """The spans of a batch: one for each record, in the trace of that record, and one for them all.

    The span of a record is a child of the one that sent it, so that a trace shows the whole way of
    a command. That of the batch is in a trace of its own and links to the records, as OpenTelemetry
    recommends; each record's span links to it. A record without a context has no span. Of one
    whose trace is not sampled, only the context is passed on.
    """

    def __init__(self, tracer: Tracer, topic: str, group: str) -> None:
        self._tracer = tracer
        self._topic = topic
        self._group = group
        self._began_ns = time_ns()
        self._links: list[Link] = []
        self._spans: list[Span] = []

    def begin(
        self,
        context: Context,
        began_ns: int,
        topic: str,
        place: tuple[int, int],
        attributes: Attributes,
    ) -> Span | None:
        """Begin the span of a record that carries `context`; None if its trace is not sampled.

        It ends with the batch. `place` is the record's partition and offset.
        """
        sender = span_context(context)
        if not sender.trace_flags.sampled:
            return None
        span = self._tracer.start_span(
            conventions.process_name(topic),
            context,
            SpanKind.CONSUMER,
            conventions.processing(topic, self._group, *place) | attributes,
            start_time=began_ns,
        )
        self._links.append(Link(sender))
        self._spans.append(span)
        return span

    def begin_sending(self, span: Span, topic: str) -> Context:
        """Begin the sending of what came of a record; return the context for what is sent."""
        below = set_span_in_context(span, _NOWHERE)
        sending = self._tracer.start_span(
            conventions.send_name(topic),
            below,
            SpanKind.PRODUCER,
            conventions.sending(topic),
        )
        self._spans.append(sending)
        return set_span_in_context(sending, _NOWHERE)

    def end(self, messages: int, attributes: Attributes, failure: str = "") -> None:
        """End all spans; `failure` is why none of the batch was stored, as a code or a class."""
        if not self._spans:
            return
        batch = self._tracer.start_span(
            conventions.process_name(self._topic),
            _NOWHERE,
            SpanKind.CONSUMER,
            conventions.processing_batch(self._topic, self._group, messages) | attributes,
            self._links,
            self._began_ns,
        )
        is_recorded, ended_ns = batch.is_recording(), time_ns()
        for span in (*self._spans, batch):
            if is_recorded and span is not batch:
                span.add_link(batch.get_span_context())
            if failure:
                fail(span, failure)
            span.end(ended_ns)
