"""What a request asks for: its parameters, and the token that it waits for first."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Request

from projectors.service.api.parameters import Parameter, read_body, read_query
from projectors.service.stores.connections import Stores
from projectors.service.stores.waits import TIMEOUT_MAX_SECONDS
from runtime.http import read_object
from schemas.fields.rules import AGE_MAX_YEARS
from schemas.tokens import WAIT_SECONDS, parse_token

AFTER: Final = Parameter(
    "after",
    {"type": "string", "pattern": "^[0-9:,]+$", "maxLength": 8_192},
    "Wait until the answer shows what a command did: the token of its answer. "
    "The header `Rollbook-After` does the same.",
    lambda text: str(parse_token(text)),
    example="3:17",
)
TIMEOUT: Final = Parameter(
    "timeout",
    {"type": "number", "minimum": 0, "maximum": TIMEOUT_MAX_SECONDS},
    "How many seconds to wait for `after`.",
    default=WAIT_SECONDS,
)
WAITING: Final = (AFTER, TIMEOUT)
_AGE: Final = {"type": "integer", "minimum": 0, "maximum": AGE_MAX_YEARS}
AGES: Final = (
    Parameter("min_age", _AGE, "From this age.", default=0),
    Parameter("max_age", _AGE, "Up to this age, included.", default=AGE_MAX_YEARS),
)


def limit(most: int, default: int, what: str) -> Parameter:
    """Return the parameter that limits a page."""
    schema = {"type": "integer", "minimum": 1, "maximum": most}
    return Parameter("limit", schema, f"The most {what} to return.", default=default)


def cursor(description: str = "Continue after this cursor of an earlier page.") -> Parameter:
    """Return the parameter that names the next page."""
    schema = {"type": "string", "pattern": "^[!-~]+$", "maxLength": 4_096}
    return Parameter("cursor", schema, description)


async def ask(
    request: Request, stores: Stores, parameters: Sequence[Parameter], read_model: str
) -> dict[str, Any]:
    """Return the parameters of the query string, once `read_model` shows the token asked for.

    Raises what `read_query` and `Waits.wait` do.
    """
    asked = query_of(request, (*parameters, *WAITING))
    await wait_for(request, stores, asked, read_model)
    return asked


async def wait_for(
    request: Request, stores: Stores, asked: Mapping[str, Any], read_model: str
) -> None:
    """Return once `read_model` shows the token asked for, at once if there is none."""
    token = asked["after"] or request.headers.get("rollbook-after")
    if token is not None:
        await stores.waits.wait(read_model, token, asked["timeout"])


def query_of(request: Request, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the parameters of the query string; see `read_query`."""
    if not (request.scope["query_string"] or any(one.required for one in parameters)):
        return {one.name: one.default for one in parameters}
    return read_query(parameters, request.query_params.multi_items())


async def body_of(request: Request, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the parameters of a JSON body; see `read_object` and `read_body`."""
    return read_body(parameters, await read_object(request))
