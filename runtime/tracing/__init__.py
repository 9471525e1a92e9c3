"""Traces: which requests, commands, decisions and projections belong together.

The context of a trace (W3C Trace Context) travels in the headers of HTTP requests and of records on
the log. `conventions` has every name, `docs/tracing.md` explains the spans, and docs/decisions/0031
the design. Any package above may import this module, which imports OpenTelemetry only if the
setting `tracing` is on. The other modules, except `conventions`, always import it: import them
only where tracing is on. While it is off, no header is written or read.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from runtime.settings import Settings

if TYPE_CHECKING:
    from runtime.tracing.tracing import Tracing


def tracing_of(settings: Settings) -> "Tracing | None":
    """Return what makes spans in this process; None if the setting `tracing` is empty.

    In a program that is not rollbook's, spans go to the tracer provider of that program. Raises
    `Misconfigured` (`no_tracing`) if the extra `tracing` is not installed.
    """
    if not settings.tracing:
        return None
    from runtime.command_line.extras import require_tracing

    require_tracing()
    from runtime.tracing.tracing import Tracing, library_tracer, started

    return started[-1] if started else Tracing(library_tracer())


def exporting(settings: Settings, service: str, instance: str = "") -> AbstractContextManager[None]:
    """Return a context in which the spans of this process are exported as those of `service`.

    Exporting never blocks the process; at the end of the context, spans that are still in the queue
    are sent for at most 2 s. Raises `Misconfigured` as `tracing_of` does.
    """
    if not settings.tracing:
        return nullcontext()
    from runtime.command_line.extras import require_tracing

    require_tracing()
    from runtime.tracing.export import export_spans

    return export_spans(service, instance)
