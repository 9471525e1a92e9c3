"""A span for each request, in the trace that the request's `traceparent` names.

FastAPI's own spans would name the path and the query string, which may hold personal data.
"""

from opentelemetry.trace import use_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.http.guard import PROBES
from runtime.tracing import conventions
from runtime.tracing.context import context_of
from runtime.tracing.tracing import Tracing, fail

_SERVER_ERROR = 500


class Traced:
    """ASGI middleware; probes pass it without a span."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what it does is below its span."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        parent = context_of((name.decode("latin-1"), value) for name, value in scope["headers"])
        span = self._tracing.request(scope["method"], scope["scheme"], parent)
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                await self._app(scope, receive, send_noting_status)
        finally:
            route = getattr(scope.get("route"), "path", "")
            span.update_name(conventions.request_name(scope["method"], route))
            span.set_attributes(conventions.answer(route, status))
            if status >= _SERVER_ERROR:
                fail(span, str(status))
            span.end()
