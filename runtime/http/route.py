"""Routes that are declared as FastAPI's are, but called directly.

FastAPI inspects, for each request, what the function of its route takes. Ours take the request,
parts of the path as text, and callers (`require`); passing those halves what a request costs in
the framework (docs/decisions/0028). They have no dependencies that end after the answer either, so
nothing keeps track of such dependencies, and errors reach `runtime.http.application` as they are.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from runtime.http.authorise import require

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """A route whose function takes nothing else, and is `async`. Raises TypeError for another."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.app = _application(self.get_route_handler())

    def get_route_handler(self) -> Handler:
        """Return what answers a request."""
        function = self.dependant.call
        if function is None or not _is_direct(self.dependant):
            raise TypeError(f"{self.path}: the function takes something else")
        return _handler(function, self.dependant)


def routes(**options: Any) -> APIRouter:
    """Return a router of direct routes; `options` are those of `APIRouter`."""
    return APIRouter(route_class=DirectRoute, generate_unique_id_function=operation_id, **options)


def add_routes(app: FastAPI, *routers: APIRouter) -> None:
    """Add what `routes` returned, as if it had been declared on `app`.

    FastAPI's `include_router` keeps a router apart and matches each request with its routes twice,
    which costs a seventh of a get.
    """
    for router in routers:
        app.router.routes.extend(router.routes)


def operation_id(route: APIRoute) -> str:
    """Return the name of an operation in the OpenAPI document: that of its function."""
    return route.name


def _is_direct(dependant: Dependant) -> bool:
    others = (
        *(dependant.query_params, dependant.header_params, dependant.cookie_params),
        *(dependant.body_params, dependant.response_param_name),
        *(dependant.background_tasks_param_name, dependant.http_connection_param_name),
    )
    return (
        not any(others)
        and all(one.field_info.annotation is str for one in dependant.path_params)
        and all(isinstance(one.call, require) for one in dependant.dependencies)
    )


def _application(handler: Handler) -> ASGIApp:
    async def answer(scope: Connection, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)

    return answer


def _handler(function: Callable[..., Awaitable[Response]], dependant: Dependant) -> Handler:
    paths = [one.name for one in dependant.path_params]
    callers = [
        (one.name, one.call) for one in dependant.dependencies if isinstance(one.call, require)
    ]
    request_name = dependant.request_param_name

    async def answer(request: Request) -> Response:
        values: dict[str, Any] = {name: request.path_params[name] for name in paths}
        if request_name:
            values[request_name] = request
        for name, required in callers:
            caller = await required(request)
            if name:
                values[name] = caller
        return await function(**values)

    return answer
