"""The page Log: events as they arrive, from now on or from an earlier time."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.responses import Response

from scripts.console.pages import Page, message, part

TYPES = ("UserCreated", "UserUpdated", "UserEmailChanged", "UserDeleted", "UserErased")


async def log(page: Page) -> Response:
    """Show the page; its script asks for the events."""
    given = {name: page.asked(name) for name in ("from", "user", "type")}
    return page.show("log.html", given=given, types=TYPES)


async def stream(page: Page) -> Response:
    """Send the events as rows of a table, after the one that the browser had last."""
    last = page.request.headers.get("last-event-id") or page.asked("last")
    parameters: dict[str, Any] = {name: page.asked(name) for name in ("from", "user", "type")}
    return page.stream(_rows(page, last, parameters), "_log_problem.html")


async def _rows(page: Page, last: str, parameters: dict[str, Any]) -> AsyncIterator[bytes]:
    key = page.session.key
    async with page.services.stream(key, "/events", last=last, **parameters) as events:
        async for event in events:
            # An event without data only says where to continue.
            row = part("_event.html", event=orjson.loads(event.data)) if event.data else ""
            yield message("rows", row, event.id)
