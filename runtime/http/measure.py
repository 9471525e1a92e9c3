"""What the metrics say of a service: its requests, and whether it is ready."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Scope

from runtime.metrics.health import HEALTH, START
from runtime.metrics.recording import VALUES
from runtime.settings import Settings
from schemas.errors import RollbookError

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"})
_NO_ROUTE: Final = "unknown"
_OTHER_METHOD: Final = "other"
_READINESS_SECONDS: Final = 5.0


class Requests:
    """Counts the requests of the service with a title, if its metrics are served.

    Its labels have a bound, whatever is requested: the template of the route and never the path,
    and known methods.
    """

    def __init__(self, settings: Settings, title: str) -> None:
        self._service = title.removeprefix("rollbook ")
        self._is_served = bool(settings.metrics_listen)
        VALUES.set("http_requests_in_flight", 0, self._service)

    def begin(self) -> float:
        """Count a request that begins; return when, for `end`."""
        if self._is_served:
            VALUES.count("http_requests_in_flight", self._service)
        return time.perf_counter()

    def end(self, scope: Scope, status: int, began: float) -> float:
        """Count what a request was answered with; return how many seconds it took."""
        seconds = time.perf_counter() - began
        if self._is_served:
            self._count(scope, status, seconds)
        return seconds

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = route_of(scope) or _NO_ROUTE
        method = scope["method"] if scope["method"] in _METHODS else _OTHER_METHOD
        VALUES.count("http_requests_in_flight", self._service, by=-1)
        VALUES.count("http_requests_total", self._service, method, route, str(status))
        VALUES.observe("http_request_seconds", seconds, self._service, route)


def route_of(scope: Scope) -> str:
    """Return the template of the path, '' if nothing is there."""
    return getattr(scope.get("route"), "path", "")


async def follow_readiness(check: Callable[[], Awaitable[None]]) -> None:
    """Note every few seconds whether the service is ready, until cancelled."""
    while True:
        try:
            await check()
        except RollbookError as error:
            HEALTH.lacks(error, START)
        except Exception as error:  # noqa: BLE001 - the service would seem ready for ever
            HEALTH.lacks(RollbookError(f"unexpected {type(error).__name__}"), START)
        else:
            HEALTH.works(START)
        await asyncio.sleep(_READINESS_SECONDS)
