"""Problem documents (`runtime.problem`) as answers to requests."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.responses import Response

from runtime.callers.errors import TooManyRequests, Unauthenticated
from runtime.problem import MEDIA_TYPE, problem, status_of
from schemas.errors import RollbookError

# Servers that restart need a few seconds; an overloaded one must not be asked at once either.
_RETRY_SECONDS: Final = 2


def problem_response(
    error: RollbookError, *, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """Return the answer to a request that `error` ended."""
    document = problem(error, **members)
    return Response(
        orjson.dumps(document),
        status_code=document["status"],
        headers={**_headers(error), **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def _headers(error: RollbookError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(math.ceil(error.seconds))}
    if status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(_RETRY_SECONDS)}
    return {}
