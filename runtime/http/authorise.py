"""The dependency of a route that says which scope its callers need."""

from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from runtime.callers.authority import Authority
from runtime.callers.caller import Caller, Scope
from runtime.http.guard import CALLER
from schemas.errors import Rejected


class require(SecurityBase):  # noqa: N801 - it reads as a function where routes are declared
    """A FastAPI dependency that returns the `Caller`, if it has `scope`.

    async def create(caller: Annotated[Caller, Depends(require(Scope.COMMANDS))]) -> Response: ...

    The answer is 401 without a valid key or token, 403 without the scope, and 429 for a caller that
    makes too many requests. The OpenAPI document says so by itself.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        # FastAPI writes these to the OpenAPI document of each route.
        self.model = HTTPBearer()
        self.scheme_name = scope.value

    async def __call__(self, request: Request) -> Caller:
        """Return the caller. Raises `Rejected`."""
        authority: Authority = request.app.state.authority
        address = request.client.host if request.client else ""
        caller = await authority.identify(request.headers.get("authorization"), address)
        request.scope[CALLER] = caller
        if self.scope not in caller.scopes:
            raise Rejected(
                f"the key does not have the scope {self.scope}",
                code="scope_missing",
                next_step=f"use a key with the scope {self.scope}",
            )
        return caller
