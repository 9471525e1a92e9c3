"""`/dead-letters`: the records that could not be read or applied; retrying them is a job."""

import logging
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from projectors.dead_letters.place import look_at
from projectors.dead_letters.reader import letter_fields, named, read_letters
from projectors.service.api import documents as d
from projectors.service.api.asking import body_of, limit, query_of
from projectors.service.api.parameters import Parameter
from projectors.service.jobs.jobs import Jobs
from projectors.service.jobs.routes import accepted
from projectors.service.stores.connections import Stores
from runtime.http import Caller, Scope, json_response, require, routes
from runtime.settings import Settings
from schemas.errors import Rejected

log = logging.getLogger(__name__)

_FLAG: Final = {"type": "boolean"}
_LETTERS_MOST: Final = 1_000
_NAME: Final = {"type": "string", "maxLength": 300}
_READER: Final = Parameter(
    "reader", _NAME, "Only letters of this reader: handler, or projector:NAME for a read model."
)
_LIST: Final = (
    _READER,
    Parameter("all", _FLAG, "Also show settled letters.", default=False),
    limit(10_000, 1_000, "letters"),
)
_SHOW: Final = (
    Parameter(
        "payload",
        _FLAG,
        "Show the record itself, decoded. It may be personal data, so the request is logged.",
        default=False,
    ),
)
_CHOICE: Final = (
    Parameter(
        "letters",
        {"type": "array", "items": _NAME, "maxItems": _LETTERS_MOST},
        "These letters, each topic:partition:offset.",
        default=(),
        example=["user-events:3:1207"],
    ),
    Parameter("all", _FLAG, "All open letters, instead of naming them.", default=False),
    _READER,
)
_RETRY: Final = (
    *_CHOICE,
    Parameter("dry_run", _FLAG, "Only read the records again; apply nothing.", default=False),
)
_Operator = Annotated[Caller, Depends(require(Scope.OPERATE))]


def dead_letter_routes(stores: Stores, jobs: Jobs) -> APIRouter:
    """Return the routes of dead letters."""
    router = routes(tags=["dead letters"])

    @router.get("/dead-letters", **d.dead_letters(_LIST))
    async def list_letters(request: Request, _caller: _Operator) -> Response:
        asked = query_of(request, _LIST)
        return json_response(await stores.log.run(lambda _: _listed(stores.settings, asked)))

    @router.get("/dead-letters/{letter}", **d.dead_letter(_SHOW))
    async def show(request: Request, letter: str, caller: _Operator) -> Response:
        payload = query_of(request, _SHOW)["payload"]
        look = partial(_shown, stores.settings, letter, payload=payload)
        found = await stores.log.run(lambda _: look())
        if payload:
            # Only now: the path may have anything in it, but there is a letter of this place.
            log.info("%s reads the record of dead letter %s", caller.name or "-", found["letter"])
        return json_response(found)

    def settle_with(operation: str, parameters: tuple[Parameter, ...]) -> None:
        @router.post(f"/dead-letters/{operation}", **d.settle(operation, parameters))
        async def settle(request: Request, caller: _Operator) -> Response:
            asked = await body_of(request, parameters)
            if asked["all"] == bool(asked["letters"]):
                raise Rejected(
                    "name letters, or give all for every open one", code="invalid_request"
                )
            return accepted(jobs.start(operation, asked, caller.name))

    settle_with("retry", _RETRY)
    settle_with("discard", _CHOICE)
    return router


def _listed(settings: Settings, asked: dict[str, Any]) -> dict[str, Any]:
    found = read_letters(settings)
    letters = [one for one in found.letters if asked["reader"] in {None, one.reader}]
    shown = [letter_fields(one) for one in letters if asked["all"] or one.is_open]
    return {
        "dead_letters": shown[: asked["limit"]],
        "found": len(shown),
        "open": sum(one.is_open for one in letters),
        "unreadable": found.unreadable,
    }


def _shown(settings: Settings, place: str, *, payload: bool) -> dict[str, Any]:
    found = named(read_letters(settings).letters, [place])
    there = look_at(settings, found[0], payload=payload)
    return there | {"letters": [letter_fields(letter) for letter in found]}
