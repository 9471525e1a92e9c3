"""`/users`, `/users/{id}`, `/users/{id}/history` and `/summary`: queries of PostgreSQL."""

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response

from projectors.history.queries import EventStore, event_fields
from projectors.log.times import parse_time
from projectors.postgres.store.user_view import UserView
from projectors.postgres.users.queries import MOST_PER_PAGE, UserQueries, write_cursor
from projectors.service.api import documents as d
from projectors.service.api.answers import next_link, tagged
from projectors.service.api.asking import AGES, WAITING, ask, cursor, limit, query_of, wait_for
from projectors.service.api.parameters import Parameter
from projectors.service.stores.connections import Stores
from runtime.http import Scope, json_response, require, routes
from schemas.errors import Rejected

_VERSION: Final = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
_AT: Final = (
    Parameter("at_version", _VERSION, "As the user was at this version."),
    Parameter(
        "at",
        {"type": "string", "maxLength": 64},
        "As the user was at this time: ISO 8601 (UTC without a zone), or how long ago: 10m, 2d.",
        lambda text: parse_time(text, datetime.now(UTC)),
        example="2026-11-24T10:00:00Z",
    ),
)
_LIST: Final = (*AGES, limit(MOST_PER_PAGE, 100, "users"), cursor())
_EVENTS_MOST: Final = 10_000
_HISTORY: Final = (
    Parameter("from_version", _VERSION, "Start with this version.", default=1),
    limit(_EVENTS_MOST, 1_000, "events"),
)


def user_routes(stores: Stores) -> APIRouter:
    """Return the routes that read users."""
    router = routes(tags=["users"], dependencies=[Depends(require(Scope.QUERIES))])

    @router.get("/users/{user_id}", **d.get_user((*_AT, *WAITING)))
    async def get_user(request: Request, user_id: str) -> Response:
        asked = query_of(request, (*_AT, *WAITING))
        version, time = asked["at_version"], asked["at"]
        if version is not None and time is not None:
            raise Rejected("give at or at_version, not both", code="invalid_request")
        is_now = version is None and time is None
        await wait_for(request, stores, asked, "postgres" if is_now else "history")
        if is_now:
            user = await stores.gets.get(user_id)
        else:
            user = await stores.history.run(partial(_earlier, user_id, version, time))
        return tagged(request, user.as_json(), user.version)

    @router.get("/users", **d.list_users((*_LIST, *WAITING)))
    async def list_users(request: Request) -> Response:
        asked = await ask(request, stores, _LIST, "postgres")
        if asked["min_age"] > asked["max_age"]:
            raise Rejected("min_age is more than max_age", code="invalid_request")
        content = await stores.users.run(partial(_page, asked))
        return json_response(content, headers=next_link(request, "cursor", content["next"]))

    @router.get("/users/{user_id}/history", **d.history((*_HISTORY, *WAITING)))
    async def history(request: Request, user_id: str) -> Response:
        asked = await ask(request, stores, _HISTORY, "history")
        content = await stores.history.run(partial(_history, user_id, asked))
        return json_response(content, headers=next_link(request, "from_version", content["next"]))

    @router.get("/summary", **d.summary(WAITING))
    async def summary(request: Request) -> Response:
        await ask(request, stores, (), "postgres")
        found = await stores.users.run(UserQueries.get_user_summary)
        return json_response(found.as_json())

    return router


def _earlier(
    user_id: str, version: int | None, time: datetime | None, store: EventStore
) -> UserView:
    if version is not None:
        return store.get_user_at_version(user_id, version)
    assert time is not None  # noqa: S101 - one of the two is given
    return store.get_user_at(user_id, time)


def _page(asked: dict[str, Any], queries: UserQueries) -> dict[str, Any]:
    page = queries.get_users_by_age_range(
        asked["min_age"], asked["max_age"], limit=asked["limit"], after=asked["cursor"]
    )
    users = [user.as_json() | {"cursor": write_cursor(user)} for user in page.users]
    return {"users": users, "next": page.next}


def _history(user_id: str, asked: dict[str, Any], store: EventStore) -> dict[str, Any]:
    most = asked["limit"]
    events = store.get_events(user_id, asked["from_version"], limit=most + 1)
    following = events[most]["version"] if len(events) > most else None
    return {"events": [event_fields(event) for event in events[:most]], "next": following}
