"""The peer over HTTP: `eventsourcing` behind FastAPI on uvicorn, as their documentation has it.

Needs the dependency group `benchmark`: only the processes of the peer import it. There are no keys,
no limits and no access log. `scripts.bench.peers.eventsourcing_over_http` says why it reads rows.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import uvicorn
from fastapi import FastAPI, HTTPException
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

from scripts.bench.peers.eventsourcing_application import Users
from scripts.stack.places import HOST

_ROW_CONNECTIONS = 4
_ROW = "SELECT id, email, name, age, version, created_at FROM user_rows WHERE id = %s"


class NewUser(BaseModel):
    """What a creation needs."""

    email: str
    name: str
    age: int


def service(users: Users, rows: AsyncConnectionPool[Any]) -> FastAPI:
    """Return the application."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with rows:
            yield

    app = FastAPI(telemetry={"tracing": False, "metrics": False}, lifespan=lifespan)

    # A plain function, which FastAPI calls in a thread: the library blocks.
    @app.post("/users", status_code=201)
    def create_user(user: NewUser) -> dict[str, UUID]:
        return {"user_id": users.register(user.email, user.name, user.age)}

    @app.get("/users/{user_id}")
    async def get_user(user_id: UUID) -> dict[str, Any]:
        async with rows.connection() as connection:
            found = await (await connection.execute(_ROW, (user_id,))).fetchone()
        if found is None:
            raise HTTPException(404)
        return dict(found)

    return app


def main() -> None:
    """Serve at the port that is the first argument; the environment has the library's settings."""
    names = ("host", "port", "dbname", "user", "password")
    login = {name: os.environ[f"POSTGRES_{name.upper()}"] for name in names}
    rows = AsyncConnectionPool(
        make_conninfo(**login, options=f"-c search_path={os.environ['POSTGRES_SCHEMA']}"),
        min_size=_ROW_CONNECTIONS,
        max_size=_ROW_CONNECTIONS,
        open=False,
        kwargs={"autocommit": True, "row_factory": dict_row},
    )
    app = service(Users(), rows)
    uvicorn.run(app, host=HOST, port=int(sys.argv[1]), access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
