"""`rollbook serve queries`: the application that answers queries and, if asked to, operates."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from projectors.service.api.schemas import SCHEMAS
from projectors.service.dead_letters import dead_letter_routes
from projectors.service.events import event_routes
from projectors.service.feed import Feed
from projectors.service.jobs.jobs import Jobs
from projectors.service.jobs.operations import OPERATIONS
from projectors.service.jobs.refused import refused_operations
from projectors.service.jobs.routes import job_routes, operation_routes
from projectors.service.jobs.worker import Operation
from projectors.service.read_models import read_model_routes
from projectors.service.search import search_routes
from projectors.service.stores.connections import Stores
from projectors.service.users import user_routes
from runtime.http import add_routes, application
from runtime.settings import Settings


def queries_application(
    settings: Settings, others: Mapping[str, Operation] | None = None
) -> FastAPI:
    """Return the service; it connects to nothing before the first request.

    It only reads, unless it is given `others`: then it serves operations too. These are the ones
    that this package may not import: `verify`.
    """
    stores = Stores.open(settings)
    jobs = Jobs(settings, {**OPERATIONS, **(others or {})})

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        jobs.close()
        await stores.close()

    # A store that is down must not take the service from its load balancer, nor a projector that
    # is behind: other queries still work. So it is ready as long as it runs.
    app = application(
        settings,
        title="rollbook queries",
        summary="Users, their history, search and events; read models and their operations.",
        lifespan=lifespan,
        schemas=SCHEMAS,
    )
    add_routes(
        app,
        user_routes(stores),
        search_routes(stores),
        event_routes(Feed(settings)),
        read_model_routes(settings, stores.log),
    )
    if others is None:
        add_routes(app, refused_operations())
    else:
        add_routes(
            app,
            operation_routes(settings, jobs),
            job_routes(jobs),
            dead_letter_routes(stores, jobs),
        )
    return app
