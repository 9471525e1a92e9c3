"""Signing in with a key, and out. Where the services require no key, everybody is signed in."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from scripts.console.pages import read_form, refuse_form, render, see
from scripts.console.services import Problem


async def sign_in(request: Request) -> Response:
    """Show the form, or sign in with what it sent, and go to the page that was asked for."""
    if request.method == "GET":
        return await _show(request)
    form = await read_form(request)
    if form is None:
        return refuse_form(request)
    key = form.get("key", [""])[0].strip()
    try:
        await request.app.state.services.send(key, "queries", "GET", "/users?limit=1")
    except Problem as problem:
        # A key without the scope for queries may still send commands.
        if problem.status != HTTPStatus.FORBIDDEN:
            return _form(request, _page_after(form.get("next", [""])[0]), problem)
    return _begin(request, _page_after(form.get("next", [""])[0]), key)


async def _show(request: Request) -> Response:
    page_after = _page_after(request.query_params.get("next", ""))
    if request.app.state.authority.is_open:
        return _begin(request, page_after, "")
    return _form(request, page_after, None)


def _begin(request: Request, page_after: str, key: str) -> Response:
    response = see(page_after)
    request.app.state.sessions.begin(request, response, key)
    return response


def _form(request: Request, page_after: str, refusal: Problem | None) -> Response:
    return render(request, "sign_in.html", page_after=page_after, refusal=refusal)


async def sign_out(request: Request) -> Response:
    """Forget the key of this browser."""
    if await read_form(request) is None:
        return refuse_form(request)
    request.app.state.sessions.end(request)
    return see("/sign-in")


def _page_after(path: str) -> str:
    """Return where to go: a page of this console, never another host."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_ours else "/users"
