"""Problem documents (`runtime.problem`) as answers to requests."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runtime.callers.errors import TooManyRequests, Unauthenticated
from runtime.problem import MEDIA_TYPE, problem, status_of
from schemas.errors import RollbookError

# Servers that restart need a few seconds; an overloaded one must not be asked at once either.
_RETRY_SECONDS: Final = 2
# The scope's key for the code of the error that was answered, for the access log.
CODE: Final = "rollbook.code"


class _Problem(Response):
    """An answer that notes its code."""

    media_type = MEDIA_TYPE
    code = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        scope[CODE] = self.code
        await super().__call__(scope, receive, send)


def problem_response(
    error: RollbookError, *, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """Return the answer to a request that `error` ended."""
    document = problem(error, **members)
    response = _Problem(
        orjson.dumps(document),
        status_code=document["status"],
        headers={**_headers(error), **(headers or {})},
    )
    response.code = error.code
    return response


def _headers(error: RollbookError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(math.ceil(error.seconds))}
    if status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(_RETRY_SECONDS)}
    return {}
