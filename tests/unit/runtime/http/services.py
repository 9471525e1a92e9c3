"""A small service in memory, and the client that calls it."""

import asyncio
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.testclient import TestClient

from runtime.http import Caller, Scope, application, json_response, read_object, require
from runtime.settings import Settings
from schemas.errors import Rejected, Unavailable

ADDRESS = "jane@example.com"


def trial(**settings: Any) -> FastAPI:
    """Return a service with routes that succeed, fail and take long."""
    app = application(Settings(**settings), title="trial", streams=["/lines"])

    @app.post("/users")
    async def create(
        request: Request, caller: Annotated[Caller, Depends(require(Scope.COMMANDS))]
    ) -> Response:
        return json_response(await read_object(request) | {"by": caller.name}, status=201)

    @app.get("/users/{user_id}")
    async def get(user_id: str) -> Response:
        if user_id == "busy":
            raise Unavailable("PostgreSQL is unavailable", code="postgres_unavailable")
        if user_id == "crash":
            raise ValueError(ADDRESS)
        if user_id == "slow":
            await asyncio.sleep(60)
        raise Rejected("there is no such user", code="user_not_found")

    @app.get("/numbers/{number}")
    async def numbers(number: int) -> Response:
        return json_response({"number": number})

    @app.post("/lines")
    async def lines(request: Request) -> Response:
        return StreamingResponse(request.stream(), media_type="application/x-ndjson")

    return app


def client(app: FastAPI, **options: Any) -> TestClient:
    """Return a client on this machine, whose requests reach `app` without a network."""
    return TestClient(app, base_url="http://127.0.0.1:18082", **options)
