"""A small service, in memory or as a process: `python -m … '{"http_keys_file": "…"}'`."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.testclient import TestClient

from runtime.http import (
    Caller,
    Scope,
    application,
    json_response,
    read_object,
    require,
    serve,
    stopping,
)
from runtime.logs import start_logging
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

    _add_failures(app)
    _add_streams(app)
    return app


def _add_failures(app: FastAPI) -> None:
    @app.get("/users/{user_id}")
    async def get(user_id: str) -> Response:
        if user_id == "busy":
            raise Unavailable("PostgreSQL is unavailable", code="postgres_unavailable")
        if user_id == "crash":
            raise ValueError(ADDRESS)
        if user_id == "slow":
            await asyncio.sleep(60)
        raise Rejected("there is no such user", code="user_not_found")


def _add_streams(app: FastAPI) -> None:
    @app.post("/lines")
    async def lines(request: Request) -> Response:
        return StreamingResponse(request.stream(), media_type="application/x-ndjson")

    @app.post("/headers")
    async def headers(request: Request) -> Response:
        await request.body()
        return json_response(list(request.headers))

    @app.get("/second")
    async def second() -> Response:
        await asyncio.sleep(1)
        return json_response("done")

    @app.get("/ticks")
    async def ticks(request: Request) -> Response:
        async def lines() -> AsyncIterator[bytes]:
            while not stopping(request).is_set():
                yield b"tick\n"
                await asyncio.sleep(0.05)
            yield b"end\n"

        return StreamingResponse(lines())

    @app.get("/silence")
    async def silence() -> Response:
        async def line() -> AsyncIterator[bytes]:
            await asyncio.sleep(0.5)
            yield b"end\n"

        return StreamingResponse(line())

    @app.get("/who")
    async def who(request: Request) -> Response:
        return json_response([request.client and request.client.host, request.url.scheme])


def client(app: FastAPI, **options: Any) -> TestClient:
    """Return a client on this machine, whose requests reach `app` without a network."""
    return TestClient(app, base_url="http://127.0.0.1:18082", **options)


if __name__ == "__main__":
    given = Settings(**json.loads(sys.argv[1]))
    start_logging(given, "trial")
    serve(given, trial(**json.loads(sys.argv[1])), "127.0.0.1:0")
