"""The service itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from producers.service.commands import commands
from producers.service.openapi import SCHEMAS
from producers.service.state import CommandService
from producers.service.users import users
from runtime.http import add_routes, application
from runtime.settings import Settings


def command_application(settings: Settings) -> FastAPI:
    """Return the service. It starts without brokers, and is ready once they answer.

    Raises what `runtime.http.application` raises.
    """
    service = CommandService(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = application(
        settings,
        title="rollbook commands",
        summary="Creates and changes users.",
        lifespan=lifespan,
        ready=service.check,
        streams=["/commands"],
        schemas=SCHEMAS,
    )
    app.state.commands = service
    add_routes(app, users, commands)
    return app
