"""Signing in with a key, and out. Where the services require no key, everybody is signed in."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from runtime.callers.authority import Authority
from runtime.http import problem, status_of
from schemas.errors import RollbookError
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
    page_after = _page_after(form.get("next", [""])[0])
    try:
        await _check(request, key)
    except Problem as refusal:
        return _form(request, page_after, refusal)
    return await _begin(request, page_after, key)


async def _check(request: Request, key: str) -> None:
    """Raise `Problem` unless both this console and the services know the key.

    The services alone would not do: those without keys answer anybody on their machine, and for
    them that is the console.
    """
    authority: Authority = request.app.state.authority
    address = request.client.host if request.client else ""
    try:
        await authority.identify(f"Bearer {key}", address)
    except RollbookError as error:
        raise Problem(status_of(error), problem(error)) from None
    try:
        await _ask(request, key)
    except Problem as refusal:
        # A key without the scope for queries may still send commands.
        if refusal.code != "scope_missing":
            raise


async def _ask(request: Request, key: str) -> None:
    await request.app.state.services.send(key, "queries", "GET", "/users?limit=1")


async def _show(request: Request) -> Response:
    page_after = _page_after(request.query_params.get("next", ""))
    if not request.app.state.authority.is_open:
        return _form(request, page_after, None)
    try:
        await _ask(request, "")
    except Problem as refusal:
        # The services have keys, although this console has none.
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            return _form(request, page_after, None)
    return await _begin(request, page_after, "")


async def _begin(request: Request, page_after: str, key: str) -> Response:
    response = see(page_after)
    operates = await _may_operate(request, key)
    request.app.state.sessions.begin(request, response, key, operates=operates)
    return response


async def _may_operate(request: Request, key: str) -> bool:
    """Return False if the service runs no operations, or none for this key."""
    try:
        await request.app.state.services.send(key, "queries", "GET", "/jobs")
    except Problem as refusal:
        return refusal.code not in {"operations_not_served", "scope_missing"}
    return True


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
