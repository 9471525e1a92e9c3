"""`/events`: the log as it grows, as server-sent events or as lines of JSON."""

from datetime import UTC, datetime
from typing import Any, Final, get_args

from fastapi import APIRouter, Depends, Request, Response

from projectors.log.lines import parse_start
from projectors.service.api import documents as d
from projectors.service.api.answers import NDJSON, wants
from projectors.service.api.asking import query_of
from projectors.service.api.parameters import Parameter
from projectors.service.feed import Feed, Wanted
from runtime.http import Scope, require, routes, stopping
from schemas.identity import parse_user_id
from schemas.records import EventType

# A request's head may have 64 KiB.
_EVENT_ID: Final = {"type": "string", "pattern": r"^[A-Za-z0-9_.:,-]+$", "maxLength": 32_768}
_TYPES: Final = list(get_args(EventType))
_EVENTS: Final = (
    Parameter(
        "user",
        {"type": "string", "format": "uuid", "maxLength": 64},
        "Only the events of this user.",
        parse_user_id,
    ),
    Parameter(
        "type",
        {"type": "array", "items": {"type": "string", "enum": _TYPES}, "maxItems": len(_TYPES)},
        "Only events of these types.",
        default=(),
    ),
    Parameter(
        "from",
        {"type": "string", "maxLength": 64},
        "Where to begin: beginning, end, or a time: ISO 8601 (UTC without a zone), or how long "
        "ago: 10m, 2d.",
        lambda text: parse_start(text, datetime.now(UTC)),
        default="end",
    ),
    Parameter(
        "follow",
        {"type": "boolean"},
        "Wait for new events, or stop at the end of the log.",
        default=True,
    ),
    Parameter("limit", {"type": "integer", "minimum": 1}, "Stop after so many events."),
    Parameter(
        "last_event_id",
        _EVENT_ID,
        "Continue after this event, instead of `from`. The header `Last-Event-ID`, which browsers "
        "send when they connect again, does the same and takes precedence.",
    ),
)


def event_routes(feed: Feed) -> APIRouter:
    """Return the route that streams events."""
    router = routes(tags=["events"], dependencies=[Depends(require(Scope.QUERIES))])

    @router.get("/events", **d.events(_EVENTS))
    async def events(request: Request) -> Response:
        as_sse = not wants(request, NDJSON)
        return await feed.open(_wanted(request), stopping(request), as_sse=as_sse)

    return router


def _wanted(request: Request) -> Wanted:
    asked: dict[str, Any] = query_of(request, _EVENTS)
    return Wanted(
        start=asked["from"],
        last_event_id=request.headers.get("last-event-id") or asked["last_event_id"],
        user_id=asked["user"],
        types=asked["type"],
        limit=asked["limit"],
        follow=asked["follow"],
    )
