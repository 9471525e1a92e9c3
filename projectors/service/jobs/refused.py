"""What a service that only reads answers to operations: which service runs them."""

from typing import Final

from fastapi import APIRouter, Request, Response

from runtime.http import routes
from schemas.errors import Rejected

# Everything that needs the scope `operate`.
_PATHS: Final = (
    "/jobs",
    "/jobs/{rest:path}",
    "/dead-letters",
    "/dead-letters/{rest:path}",
    "/read-models/{rest:path}",
    "/verify",
)


def refused_operations() -> APIRouter:
    """Return routes that refuse operations (`operations_not_served`), whoever asks.

    The login of such a service needs no permission to write anywhere.
    """
    router = routes(include_in_schema=False)

    async def refuse(_request: Request) -> Response:
        raise Rejected(
            "this service only reads: it serves no operations", code="operations_not_served"
        )

    for path in _PATHS:
        router.add_api_route(path, refuse, methods=["GET", "POST", "DELETE"])
    return router
