"""The context of a trace in headers: read with suspicion, because anyone may write a header."""

import re
from collections.abc import Iterable
from typing import Final, TypeAlias, cast

from confluent_kafka import Message
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Headers: TypeAlias = list[tuple[str, bytes]]

_NAMES: Final = frozenset({"traceparent", "tracestate"})
# What the standard asks every program to pass on; whatever is longer is left out.
_MOST_BYTES: Final = 512
_UNSAMPLED: Final = re.compile(
    rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]"
)
# Not what OTEL_PROPAGATORS names: baggage would carry anything, also personal data, into the log.
_PROPAGATOR: Final = TraceContextTextMapPropagator()


def context_of(headers: Iterable[tuple[str, bytes | None]] | None) -> Context | None:
    """Return the context that headers of a record or request carry; None without a valid one.

    A header that is malformed, too long or repeated is ignored.
    """
    carrier: dict[str, str] = {}
    for name, value in headers or ():
        if name in _NAMES and value is not None and len(value) <= _MOST_BYTES:
            if name in carrier:
                return None
            carrier[name] = value.decode("latin-1")
    context = _PROPAGATOR.extract(carrier, Context())
    return context if span_context(context).is_valid else None


def trace_headers(message: Message) -> Headers:
    """Return the headers of a record that may carry a context; none of them is checked."""
    try:
        headers = cast("Headers | None", message.headers())  # consumers get a list
    except (UnicodeDecodeError, SystemError):  # the name of some header is not UTF-8
        return []
    return [one for one in headers or () if one[0] in _NAMES and one[1] is not None]


def is_unsampled(headers: Headers) -> bool:
    """Return whether they carry the context of a trace that is not sampled.

    Most traces are not, and the OpenTelemetry SDK takes as long as a whole decision to say so.
    """
    carried = [value for name, value in headers if name == "traceparent"]
    return len(carried) == 1 and _UNSAMPLED.fullmatch(carried[0]) is not None


def passed_on(headers: Headers) -> Headers:
    """Return headers as they are, without those that are too long."""
    return [one for one in headers if len(one[1]) <= _MOST_BYTES]


def span_context(context: Context) -> SpanContext:
    """Return the ids and flags of a context."""
    return get_current_span(context).get_span_context()


def headers_of(context: Context | None = None) -> dict[str, str]:
    """Return the headers that carry a context, by default the current one; none if it has none."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context)
    return carrier


def record_headers(context: Context) -> Headers:
    """Return the headers of a record that carry a context."""
    return [(name, value.encode("latin-1")) for name, value in headers_of(context).items()]
