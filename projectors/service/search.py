"""`/search` and `/suggest`: queries of Elasticsearch.

A text to search for is personal data, and addresses of requests are logged by proxies. So both take
a body too: with POST, and with QUERY (RFC 10008), which says that the request changes nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response

from projectors.elasticsearch.search.queries import LIMIT_MAX, UserSearch, user_fields
from projectors.elasticsearch.search.request import AGE_GROUPS, SORTS, Search
from projectors.elasticsearch.search.text import TEXT_MAX_CHARACTERS
from projectors.service.api import documents as d
from projectors.service.api.answers import next_link
from projectors.service.api.asking import (
    AGES,
    WAITING,
    ask,
    body_of,
    cursor,
    limit,
    query_of,
    wait_for,
)
from projectors.service.api.parameters import Parameter
from projectors.service.stores.connections import Stores
from runtime.http import Scope, json_response, require, routes
from schemas.errors import Rejected

_TEXT: Final = {"type": "string", "maxLength": TEXT_MAX_CHARACTERS}
_FLAG: Final = {"type": "boolean"}
_SEARCH: Final = (
    Parameter(
        "text", _TEXT, "Words in the name or the e-mail address.", default="", example="jnae doe"
    ),
    *AGES,
    Parameter(
        "age_group",
        {"type": "array", "items": {"type": "string", "enum": list(AGE_GROUPS)}, "maxItems": 3},
        "Only these age groups.",
        default=(),
    ),
    Parameter(
        "sort",
        {"type": "string", "enum": list(SORTS)},
        "Best match first, by name or age, or newest first.",
        default="relevance",
    ),
    Parameter("reverse", _FLAG, "Reverse the order.", default=False),
    Parameter(
        "highlight",
        _FLAG,
        "Add HTML with the matching parts in <em>, everything else escaped.",
        default=False,
    ),
    Parameter("facets", _FLAG, "Count all matches, by age and e-mail domain.", default=False),
    limit(LIMIT_MAX, 10, "users"),
    cursor("Continue after this cursor of the previous page, within five minutes."),
)
_SUGGEST: Final = (
    Parameter(
        "prefix",
        _TEXT,
        "The beginning of a name, an address, or several.",
        example="ja",
        required=True,
    ),
    limit(LIMIT_MAX, 10, "users"),
)
_CREATIONS: Final = (
    Parameter(
        "minutes",
        {"type": "integer", "minimum": 1, "maximum": 1_440},
        "How many minutes, up to now.",
        default=60,
    ),
)
# Tells clients that they may send QUERY, and in which form.
_ACCEPT_QUERY: Final = {"accept-query": '"application/json"'}


def search_routes(stores: Stores) -> APIRouter:
    """Return the routes that search."""
    router = routes(tags=["search"], dependencies=[Depends(require(Scope.QUERIES))])

    async def asked_of(request: Request, parameters: Sequence[Parameter]) -> dict[str, Any]:
        if request.method in {"GET", "HEAD"}:
            return await ask(request, stores, parameters, "elasticsearch")
        waiting = query_of(request, WAITING)
        asked = await body_of(request, parameters)
        await wait_for(request, stores, waiting, "elasticsearch")
        return asked

    async def search(request: Request) -> Response:
        asked = await asked_of(request, _SEARCH)
        content = await stores.search.run(partial(_search, asked))
        links = next_link(request, "cursor", content["next"])
        return json_response(content, headers={**_ACCEPT_QUERY, **links})

    async def suggest(request: Request) -> Response:
        asked = await asked_of(request, _SUGGEST)
        content = await stores.search.run(partial(_suggest, asked))
        return json_response(content, headers=_ACCEPT_QUERY)

    @router.get("/creations", **d.creations((*_CREATIONS, *WAITING)))
    async def creations(request: Request) -> Response:
        asked = await ask(request, stores, _CREATIONS, "elasticsearch")
        counts = await stores.search.run(lambda users: users.count_creations(asked["minutes"]))
        return json_response({"per_minute": counts})

    for path, answer, parameters, document in (
        ("/search", search, _SEARCH, d.search),
        ("/suggest", suggest, _SUGGEST, d.suggest),
    ):
        router.get(path, **document((*parameters, *WAITING)))(answer)
        router.post(path, **document(WAITING, body=parameters))(answer)
        # OpenAPI 3.1 has no place for a method that it does not know.
        router.add_api_route(path, answer, methods=["QUERY"], include_in_schema=False)
    return router


def _search(asked: dict[str, Any], users: UserSearch) -> dict[str, Any]:
    wanted = Search(
        asked["text"].strip(),
        age_groups=tuple(asked["age_group"]),
        **{
            name: asked[name]
            for name in ("min_age", "max_age", "sort", "reverse", "highlight", "facets")
        },
    )
    if wanted == Search(highlight=wanted.highlight):
        raise Rejected(
            "give a text to find, or a parameter that filters or sorts", code="invalid_query"
        )
    page = users.page(wanted, limit=asked["limit"], cursor=asked["cursor"])
    content = {"users": [user_fields(user) for user in page.users], "next": page.next}
    return content | {"facets": asdict(page.facets)} if page.facets else content


def _suggest(asked: dict[str, Any], users: UserSearch) -> dict[str, Any]:
    return {"users": users.suggest_users(asked["prefix"], limit=asked["limit"])}
