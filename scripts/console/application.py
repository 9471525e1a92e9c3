"""The console as an application: its routes, and the headers of every page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.http import application
from runtime.settings import Settings
from scripts.console import (
    commands,
    dead_letters,
    events,
    figures,
    jobs,
    read_models,
    sign_in,
    users,
)
from scripts.console.pages import FOLDER, Handler, render, see, signed_in
from scripts.console.read_models import LagHistory
from scripts.console.services import Problem, Services
from scripts.console.sessions import Sessions

# Nothing inline and nothing from elsewhere: a name with HTML in it could not do anything anyway.
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
}
_GET: Final[dict[str, Handler]] = {
    "/users": users.users,
    "/users/new": users.new_user,
    "/users/{user_id}": users.user,
    "/log": events.log,
    "/log/events": events.stream,
    "/read-models": read_models.read_models,
    "/jobs/{job}": jobs.lines,
    "/dead-letters": dead_letters.dead_letters,
    "/dead-letters/{letter}": dead_letters.dead_letter,
    "/commands": commands.commands,
    "/check": jobs.check,
    "/figures": figures.figures,
}
_POST: Final[dict[str, Handler]] = {
    "/users/new": users.create_user,
    **{f"/users/{{user_id}}/{action}": users.change_user for action in users.CHANGES},
    "/read-models/{name}/{operation}": read_models.operate,
    "/dead-letters/retry": dead_letters.settle,
    "/dead-letters/discard": dead_letters.settle,
    "/dead-letters/{letter}": dead_letters.dead_letter,
    "/jobs/{job}/stop": jobs.stop,
    "/check": jobs.run_check,
}


def console_of(settings: Settings) -> FastAPI:
    """Return the console for the services that the settings name."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        async with Services(settings) as app.state.services:
            yield

    app = application(settings, title="rollbook console", lifespan=running, has_pages=True)
    app.state.sessions = Sessions()
    app.state.lag_history = LagHistory()
    app.add_middleware(_Headers)
    app.add_exception_handler(HTTPException, _no_page)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    for path, methods, endpoint in (
        ("/", ["GET"], _first_page),
        ("/sign-in", ["GET", "POST"], sign_in.sign_in),
        ("/sign-out", ["POST"], sign_in.sign_out),
        *((path, ["GET"], signed_in(handler)) for path, handler in _GET.items()),
        *((path, ["POST"], signed_in(handler)) for path, handler in _POST.items()),
    ):
        app.add_api_route(path, endpoint, methods=methods, response_model=None)
    return app


async def _first_page(_request: Request) -> Response:
    return see("/users")


async def _no_page(request: Request, error: Exception) -> Response:
    """Answer a request for which there is no page, such as a mistyped address."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    problem = Problem(status, {"detail": "there is no such page", "next": "the first page is at /"})
    is_signed_in = request.app.state.sessions.of(request) is not None
    return render(request, "problem.html", status=status, problem=problem, signed_in=is_signed_in)


class _Headers:
    """ASGI middleware that adds the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
