"""The pages about users: find them, create one, see one through time and change it."""

import re
import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from schemas.identity import SHARDS, new_user_id
from scripts.console.pages import Page, see
from scripts.console.services import Problem

_PER_PAGE: Final = 25
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_EVENTS_SHOWN: Final = 200
AGE_GROUPS: Final = ("teen", "adult", "senior")
SORTS: Final = {
    "relevance": "best match",
    "name": "name",
    "age": "age",
    "created": "newest",
    "updated": "last changed",
}
# These are shown at the form, with status 200: a browser reports others as failures of the page.
_REFUSALS: Final = {
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
# The fields of a user that each form sends; the refusal of one is shown beside it.
CHANGES: Final = {
    "update": ("PATCH", "", ("name", "age")),
    "email": ("PUT", "/email", ("email",)),
    "delete": ("DELETE", "", ()),
    "erase": ("POST", "/erasure", ()),
}


async def users(page: Page) -> Response:
    """Search as somebody types, or list everybody by age."""
    given = {name: page.asked(name) for name in ("q", "min_age", "max_age", "sort", "reverse")}
    given |= {"sort": given["sort"] or "relevance"}
    groups = page.request.query_params.getlist("age_group")
    asked: dict[str, Any] = {
        "min_age": _number(given["min_age"]),
        "max_age": _number(given["max_age"]),
        "limit": _PER_PAGE,
        "cursor": page.asked("cursor") or None,
    }
    if given["q"] or groups or given["reverse"] or given["sort"] != "relevance":
        asked |= {"text": given["q"], "age_group": groups, "sort": given["sort"]}
        asked |= {"reverse": bool(given["reverse"]), "highlight": True, "facets": True}
        # As a body, because nobody logs bodies: what is searched for is often personal data.
        body = {name: value for name, value in asked.items() if value is not None}
        answer = await page.send("queries", "POST", "/search", body=body)
        found = answer.json()
    else:
        found = await page.query("/users", **asked)
    more = None
    if found["next"]:
        pairs = {name: value for name, value in given.items() if value}
        more = urlencode({**pairs, "age_group": groups, "cursor": found["next"]}, doseq=True)
    return page.show(
        "_found.html" if page.is_fragment else "users.html",
        given=given | {"age_group": groups},
        found={"facets": None, **found},
        more=more,
        groups=AGE_GROUPS,
        sorts=SORTS,
    )


def _number(text: str) -> int | str | None:
    """Return a number, or the text for the service to refuse."""
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else text or None


def _new_command_id() -> str:
    """Return a UUIDv7: its time says where on the log to look for the answer."""
    return new_user_id(secrets.randbelow(SHARDS), int(time.time() * 1000), secrets.randbits(62))


async def new_user(page: Page) -> Response:
    """Show the form for a new user; its command id makes a form sent twice create one user."""
    fields = {"command_id": _new_command_id()}
    return page.show("new_user.html", fields=fields, refusal=None)


async def create_user(page: Page) -> Response:
    """Create a user, or show the form again with the refusal where it belongs."""
    fields = {name: page.field(name) for name in ("email", "name", "age", "command_id")}
    try:
        answer = await page.send(
            "commands",
            "POST",
            "/users",
            headers={"Idempotency-Key": fields["command_id"]},
            body={"email": fields["email"], "name": fields["name"], "age": _number(fields["age"])},
        )
    except Problem as problem:
        if problem.status not in _REFUSALS:
            raise
        # Another attempt is another command: the refused one keeps its answer.
        fields["command_id"] = _new_command_id()
        return page.show("new_user.html", fields=fields, refusal=problem)
    page.session.said = "created"
    return see(_address(answer.json()["user_id"], answer.headers))


async def user(page: Page) -> Response:
    """Show a user, what happened to it, and what can be done."""
    if page.is_fragment:
        then = await _then(page, page.place("user_id"), page.asked("at_version"))
        return page.show("_then.html", then=then)
    return await _show(page, None)


async def change_user(page: Page) -> Response:
    """Change, delete or erase a user, or show the refusal at the form that was sent."""
    user_id, action = page.place("user_id"), page.request.url.path.rpartition("/")[2]
    method, path, names = CHANGES[action]
    body: dict[str, Any] = {name: page.field(name) for name in names if page.field(name)}
    if "age" in body:
        body["age"] = _number(body["age"])
    headers = {"Idempotency-Key": page.field("command_id")}
    if version := page.field("version"):
        headers["If-Match"] = f'"{version}"'
    try:
        answer = await page.send(
            "commands",
            method,
            f"/users/{user_id}{path}",
            headers=headers,
            body=body if names else None,
        )
    except Problem as problem:
        if problem.status not in _REFUSALS:
            raise
        return await _show(page, problem, action)
    page.session.said = "saved" if names else f"{action}d"
    return see(_address(user_id, answer.headers))


def _address(user_id: str, headers: Mapping[str, str]) -> str:
    """Return the address of a user's page, which shows what the answered command did."""
    token = headers.get("rollbook-token")
    return f"/users/{user_id}" + (f"?{urlencode({'after': token})}" if token else "")


async def _show(page: Page, refusal: Problem | None, action: str = "") -> Response:
    user_id, after = page.place("user_id"), page.asked("after") or None
    current = await _user(page, user_id, after=after)
    first = max(1, current["version"] - _EVENTS_SHOWN + 1) if current else 1
    history = await page.query(f"/users/{user_id}/history", from_version=first, after=after)
    events = history["events"]
    latest = events[-1]["version"] if events else 1
    said, page.session.said = page.session.said, ""
    return page.show(
        "user.html",
        user_id=user_id,
        user=current,
        latest=latest,
        events=events[::-1],
        then=await _then(page, user_id, page.asked("at_version") or str(latest)),
        refusal=refusal,
        action=action,
        form=page.form,
        command_id=_new_command_id(),
        said=said,
    )


async def _user(page: Page, user_id: str, **parameters: Any) -> dict[str, Any] | None:
    """Return a user, None if there is none, or was none at that version."""
    try:
        found: dict[str, Any] = await page.query(f"/users/{user_id}", **parameters)
    except Problem as problem:
        if problem.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise
        return None
    return found


async def _then(page: Page, user_id: str, version: str) -> dict[str, Any]:
    return {"version": version, "user": await _user(page, user_id, at_version=version)}
