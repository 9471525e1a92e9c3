"""How a page is served: only to somebody who signed in, forms only with their token, never inline.

`Page` carries what every handler needs. A `Problem` that a handler raises becomes a page too.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from html import unescape
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import httpx2
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from runtime.http import stopping
from scripts.console.services import Problem, Services
from scripts.console.sessions import (
    Session,
    Sessions,
    browser_id,
    keep_browser_id,
    new_browser_id,
)

log = logging.getLogger(__name__)

FOLDER: Final = Path(__file__).parent
_FORM_BYTES: Final = 65_536
_MOST_WAITING: Final = 100
NAVIGATION: Final = {
    "/users": "Users",
    "/log": "Log",
    "/read-models": "Read models",
    "/dead-letters": "Dead letters",
    "/commands": "Commands",
    "/check": "Check",
    "/figures": "Figures",
}
_OPERATIONS: Final = {"/dead-letters", "/check"}


def _marked(value: str) -> Markup:
    """Return a highlight of the search with <mark>; everything else in it is text."""
    pieces = value.replace("</em>", "<em>").split("<em>")
    shown = (
        Markup("<mark>%s</mark>") % unescape(piece) if at % 2 else escape(unescape(piece))
        for at, piece in enumerate(pieces)
    )
    return Markup("").join(shown)


def _when(time: str | None) -> str:
    """Return an ISO 8601 time as people read it, in UTC to the second."""
    return "" if time is None else time.replace("T", " ").partition(".")[0].removesuffix("Z")


_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_TEMPLATES.filters |= {"marked": _marked, "when": _when, "part": lambda text: quote(text, "")}
_TEMPLATES.globals["navigation"] = NAVIGATION
_TEMPLATES.globals["operations"] = _OPERATIONS


@dataclass(frozen=True, slots=True)
class Page:
    """One request of somebody who is signed in; `form` holds the fields that a form sent."""

    request: Request
    session: Session
    services: Services
    form: dict[str, list[str]]

    @property
    def is_fragment(self) -> bool:
        """Whether only the part is wanted that the page's script replaces."""
        return "x-fragment" in self.request.headers

    def field(self, name: str) -> str:
        """Return a field of the form, trimmed; '' if it is missing."""
        return self.form.get(name, [""])[0].strip()

    def place(self, name: str) -> str:
        """Return a part of the path, for the path of a service. Raises `Problem` for dots."""
        return quoted(self.request.path_params[name])

    def asked(self, name: str) -> str:
        """Return a parameter of the address, trimmed; '' if it is missing."""
        return self.request.query_params.get(name, "").strip()

    async def query(self, path: str, **parameters: Any) -> Any:
        """Return the JSON that the query service answers to a GET. Raises `Problem`."""
        return (await self.send("queries", "GET", path, parameters=parameters)).json()

    async def send(self, service: str, method: str, path: str, **more: Any) -> httpx2.Response:
        """Return the answer of a service; see `Services.send`. Raises `Problem`."""
        return await self.services.send(self.session.key, service, method, path, **more)

    def show(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return the page."""
        operates = self.session.operates
        return render(
            self.request, template, status=status, signed_in=True, operates=operates, **values
        )

    def stream(self, messages: AsyncIterator[bytes], problem_template: str) -> Response:
        """Return server-sent events; one that says why there are none, if that will not change."""
        headers = {"x-accel-buffering": "no"}
        content = _until_set(stopping(self.request), _with_problem(messages, problem_template))
        return StreamingResponse(content, media_type="text/event-stream", headers=headers)


def quoted(text: str) -> str:
    """Return a text as one part of a path. Raises `Problem` for dots, which stand for others."""
    if text in {".", ".."}:
        raise Problem(HTTPStatus.NOT_FOUND, {"detail": "nothing here has this name"})
    return quote(text, ":")


async def _with_problem(messages: AsyncIterator[bytes], template: str) -> AsyncIterator[bytes]:
    try:
        async for one in messages:
            yield one
    except Problem as problem:
        if problem.status != HTTPStatus.SERVICE_UNAVAILABLE:
            yield message("rows", part(template, problem=problem))
            yield message("done", "")
        # Otherwise the stream ends, and the browser asks again every few seconds.


async def _until_set(stops: asyncio.Event, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the messages; end when the console stops, so that browsers connect again."""
    arrived: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_WAITING)

    async def read() -> None:
        async for one in messages:
            await arrived.put(one)

    async def end() -> None:
        await asyncio.wait((reading, stopped), return_when=asyncio.FIRST_COMPLETED)
        await arrived.put(None)

    reading, stopped = asyncio.create_task(read()), asyncio.create_task(stops.wait())
    ending = asyncio.create_task(end())
    try:
        while (one := await arrived.get()) is not None:
            yield one
    finally:
        for task in (reading, stopped, ending):
            task.cancel()


Handler = Callable[[Page], Awaitable[Response]]


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """Return a page from its template, with the token that its forms need."""
    browser = browser_id(request) or new_browser_id()
    token = request.app.state.sessions.form_token(browser)
    hidden = Markup('<input type="hidden" name="token" value="%s">') % token
    text = _TEMPLATES.get_template(template).render(
        path="/" + request.url.path.split("/")[1], form_token=hidden, **values
    )
    response = HTMLResponse(text, status)
    if browser != browser_id(request):
        keep_browser_id(request, response, browser)
    return response


def part(template: str, **values: Any) -> str:
    """Return a fragment of a page."""
    return _TEMPLATES.get_template(template).render(**values)


def message(event: str, html: str, event_id: str = "") -> bytes:
    """Return one server-sent event with a fragment of a page."""
    lines = [f"event: {event}", *(f"data: {line}" for line in html.splitlines() or [""])]
    if event_id:
        lines.append(f"id: {event_id}")
    return ("\n".join(lines) + "\n\n").encode()


def see(path: str) -> Response:
    """Return the answer to a form that was carried out: look there."""
    return RedirectResponse(path, 303)


def signed_in(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Call `handler` for somebody who is signed in; everybody else signs in first."""

    async def answer(request: Request) -> Response:
        sessions: Sessions = request.app.state.sessions
        session = sessions.of(request)
        if session is None:
            return see(f"/sign-in?next={quote(_path_of(request))}")
        form = {} if request.method == "GET" else await read_form(request)
        if form is None:
            return refuse_form(request)
        page = Page(request, session, request.app.state.services, form)
        try:
            return await handler(page)
        except Problem as problem:
            if problem.status == HTTPStatus.UNAUTHORIZED:
                sessions.end(request)
                return see("/sign-in")
            name = "_problem.html" if page.is_fragment else "problem.html"
            return page.show(name, status=problem.status, problem=problem)

    return answer


async def read_form(request: Request) -> dict[str, list[str]] | None:
    """Return the fields of a form; None unless this browser got the form from this console."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_BYTES:
            return None
    fields: dict[str, list[str]] = {}
    for name, value in parse_qsl(body.decode(errors="replace"), keep_blank_values=True):
        fields.setdefault(name, []).append(value)
    given = fields.pop("token", [""])[0]
    return fields if request.app.state.sessions.has_token(request, given) else None


def refuse_form(request: Request) -> Response:
    """Return the answer to a form without the token of its browser."""
    # The path itself may have anything in it, also a line break.
    log.warning("refused a form without a valid token: %s", request.scope["route"].path)
    problem = Problem(
        403,
        {
            "detail": "this form was not sent from the page that it belongs to, or it is too old",
            "next": "open the page again",
        },
    )
    return render(request, "problem.html", status=403, problem=problem, signed_in=False)


def _path_of(request: Request) -> str:
    """Return where to go after signing in: a page, never a form and never another host."""
    if request.method != "GET":
        return "/users"
    return str(request.url.replace(scheme="", netloc=""))
