"""The paths of users: one command each."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.responses import Response

from producers.service import openapi
from producers.service.answers import decide
from producers.service.bodies import command_of
from producers.service.headers import command_id_of, expected_version_of, preferences_of
from producers.service.state import service_of
from runtime.http import (
    MERGE_PATCH,
    Caller,
    Scope,
    parse_object,
    read_object,
    refuse_unknown,
    require,
    routes,
)
from schemas.records import CHANGE_EMAIL, CREATE_USER, DELETE_USER, ERASE_USER, UPDATE_USER

Changes = Annotated[Caller, Depends(require(Scope.COMMANDS))]
Erases = Annotated[Caller, Depends(require(Scope.ERASE))]

users: Final = routes(tags=["Users"], default_response_class=Response)


@users.post("/users", **openapi.CREATE)
async def create_user(request: Request, caller: Changes) -> Response:
    """Create a user."""
    body = await read_object(request)
    command_id = command_id_of(request.headers)
    command = command_of(CREATE_USER, body, caller, command_id=command_id)
    client = service_of(request).client
    return await decide(client, command, preferences_of(request.headers))


@users.patch("/users/{user_id}", **openapi.UPDATE)
async def update_user(request: Request, user_id: str, caller: Changes) -> Response:
    """Change a user's name, age or both; a field that the body lacks stays as it is."""
    body = await read_object(request, MERGE_PATCH)
    return await _change(request, UPDATE_USER, user_id, caller, body)


@users.put("/users/{user_id}/email", **openapi.MOVE)
async def change_email(request: Request, user_id: str, caller: Changes) -> Response:
    """Give a user another e-mail address.

    The old address is free once this is answered, or a moment later if the two addresses belong to
    different partitions.
    """
    return await _change(request, CHANGE_EMAIL, user_id, caller, await read_object(request))


@users.delete("/users/{user_id}", **openapi.DELETE)
async def delete_user(request: Request, user_id: str, caller: Changes) -> Response:
    """Delete a user; its history is kept."""
    return await _change(request, DELETE_USER, user_id, caller, await _no_fields(request))


@users.post("/users/{user_id}/erasure", **openapi.ERASE)
async def erase_user(request: Request, user_id: str, caller: Erases) -> Response:
    """Erase a user, live or deleted, with its history. This cannot be undone."""
    return await _change(request, ERASE_USER, user_id, caller, await _no_fields(request))


async def _change(
    request: Request, kind: str, user_id: str, caller: Caller, body: dict[str, Any]
) -> Response:
    headers = request.headers
    command = command_of(
        kind,
        body,
        caller,
        user_id=user_id,
        expected_version=expected_version_of(headers),
        command_id=command_id_of(headers),
    )
    return await decide(service_of(request).client, command, preferences_of(headers))


async def _no_fields(request: Request) -> dict[str, Any]:
    """Return an empty object. Raises `Rejected` if the body has fields."""
    content = await request.body()
    if content.strip():
        refuse_unknown(parse_object(content), ())
    return {}
