"""What every service over HTTP is made of: an application with limits, problems and probes."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from runtime.callers.authority import Authority
from runtime.http.admission import FORM_TYPES, JSON_TYPES
from runtime.http.guard import Guard, Limits
from runtime.http.measure import Requests
from runtime.http.openapi import add_documentation
from runtime.http.page import JsonSchema
from runtime.http.problems import problem_response
from runtime.http.route import DirectRoute, operation_id
from runtime.metrics.failures import count_failure
from runtime.settings import Settings
from runtime.tracing import tracing_of
from schemas.errors import Rejected, RollbookError, Unavailable

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Ready = Callable[[], Awaitable[None] | None]

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"]
_REQUEST_HEADERS = [
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"),
    *("Last-Event-ID", "Prefer", "Rollbook-After", "Traceparent", "Tracestate"),
]
_RESPONSE_HEADERS = [
    *("ETag", "Link", "Location", "Preference-Applied", "Retry-After", "Rollbook-Token"),
]


def application(
    settings: Settings,
    *,
    title: str,
    summary: str = "",
    lifespan: Lifespan | None = None,
    ready: Ready | None = None,
    streams: Collection[str] = (),
    schemas: Mapping[str, JsonSchema] | None = None,
    has_pages: bool = False,
) -> FastAPI:
    """Return a service without routes of its own; those are added with `@app.get(…)` and so on.

    A route raises `RollbookError`, which becomes a problem document. It reads bodies with
    `read_object` and returns a `Response`; nothing is validated by Pydantic. `ready` returns if
    the service can answer, and raises `RollbookError` otherwise: `/readyz` shows that. The paths
    `streams` take bodies of any length, which arrive while they are answered. Routes may refer to
    `schemas` in what they say for the OpenAPI document. One that `has_pages` for people has no such
    document; it takes forms instead of JSON, and must check that a form is from its own page.

    Raises `Misconfigured` if the file of keys cannot be read, or without the extra for `tracing`.
    """
    authority = Authority(settings)
    origins = frozenset(filter(None, settings.http_cors_origins.split(",")))
    app = FastAPI(
        title=title,
        summary=summary,
        version=version("rollbook"),
        lifespan=lifespan,
        openapi_url=None,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False},
    )
    app.router.route_class = DirectRoute
    app.state.authority = authority
    app.state.stopping = asyncio.Event()
    for kind, answer in (
        (RollbookError, _on_error),
        (HTTPException, _on_http_error),
    ):
        app.add_exception_handler(kind, answer)
    _permit(app, origins)
    limits = _limits(settings, origins, streams, is_open=authority.is_open, has_pages=has_pages)
    app.add_middleware(Guard, limits=limits, requests=Requests(settings, title))
    _add_tracing(app, settings)
    _add_probes(app, ready)
    if not has_pages:
        add_documentation(app, schemas or {})
    return app


def _limits(
    settings: Settings,
    origins: frozenset[str],
    streams: Collection[str],
    *,
    is_open: bool,
    has_pages: bool,
) -> Limits:
    return Limits(
        body_bytes=settings.http_body_bytes,
        request_seconds=settings.http_request_seconds,
        origins=origins,
        is_open=is_open,
        streams=frozenset(streams),
        media_types=FORM_TYPES if has_pages else JSON_TYPES,
    )


def _add_tracing(app: FastAPI, settings: Settings) -> None:
    tracing = tracing_of(settings)
    if tracing is not None:
        from runtime.http.traced import Traced

        app.add_middleware(Traced, tracing=tracing)


def _permit(app: FastAPI, origins: frozenset[str]) -> None:
    """Let pages of these origins, if any, call the service."""
    if not origins:
        return
    app.add_middleware(
        CORSMiddleware,
        allow_origins=sorted(origins),
        allow_methods=_METHODS,
        allow_headers=_REQUEST_HEADERS,
        expose_headers=_RESPONSE_HEADERS,
    )


def stopping(request: Request) -> asyncio.Event:
    """Return the event that is set when the service stops: a stream without an end ends then."""
    event: asyncio.Event = request.app.state.stopping
    return event


def json_response(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return `content` as JSON, written as `--json` writes it."""
    return Response(
        orjson.dumps(content, default=str),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


def _add_probes(app: FastAPI, ready: Ready | None) -> None:
    checking: asyncio.Task[None] | None = None

    async def check_once() -> None:
        found = ready() if ready else None
        if inspect.isawaitable(found):
            await found

    async def check() -> None:
        if app.state.stopping.is_set():
            raise Unavailable("the service stops", code="service_stopping")
        nonlocal checking
        if checking is None or checking.done():
            # Anyone may ask, and a check may occupy a thread: so those at one time share one.
            checking = asyncio.create_task(check_once())
        await asyncio.shield(checking)

    async def livez() -> Response:
        """Answer 200 while the process runs."""
        return json_response({"status": "alive"})

    async def readyz() -> Response:
        """Answer 200 if the service can do its work, else 503 with a problem document."""
        await check()
        return json_response({"status": "ready"})

    app.state.check_ready = check
    for path, summary, probe in (
        ("/livez", "Does the process run?", livez),
        ("/readyz", "Can it do its work?", readyz),
    ):
        app.add_api_route(
            path,
            probe,
            methods=["GET"],
            tags=["Health"],
            summary=summary,
            response_class=Response,
            responses={200: {"description": "Yes."}},
        )


async def _on_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RollbookError):
        raise error
    count_failure(error, is_retried=False)
    return problem_response(error)


async def _on_http_error(_request: Request, error: Exception) -> Response:
    """Answer for what the router refuses: an unknown path or method."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:  # noqa: PLR2004 - Method Not Allowed
        found = Rejected("the path does not support this method", code="method_not_allowed")
    elif error.status_code == 404:  # noqa: PLR2004 - Not Found
        found = Rejected("there is nothing at this path", code="path_not_found")
    else:
        found = Rejected("the request could not be understood", code="invalid_request")
    return problem_response(found, headers=error.headers)
