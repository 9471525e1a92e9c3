"""Runs a service: one process, one event loop, until SIGTERM or SIGINT."""

import asyncio
import gc
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from runtime.http.connection import Connection
from runtime.http.guard import PROBES
from runtime.http.listen import listen, tls_context
from runtime.http.measure import follow_readiness
from runtime.http.problems import problem_response
from runtime.logs import log_uncaught_in_tasks
from runtime.metrics.health import HEALTH, START
from runtime.metrics.serving import serving_metrics
from runtime.metrics.table import SERVICE
from runtime.settings import Settings
from schemas.errors import Rejected, Unavailable

log = logging.getLogger(__name__)

# Below the 20 s after which the local stack and docker-compose.yml kill a process.
DRAIN_SECONDS: Final = 15
# Longer than a client's own, so that it is not the server that closes a connection in use.
_KEEP_ALIVE_SECONDS: Final = 75
# How many more objects than were freed start a collection of the youngest ones, and how many of
# those one of the next generation.
_COLLECT_AFTER: Final = (20_000, 20, 20)


def serve(settings: Settings, app: FastAPI, listen_at: str) -> None:
    """Serve `app` at `HOST:PORT` until SIGTERM or SIGINT; then end what has begun, at most 15 s.

    Metrics and probes are also served at `metrics_listen`, if that is set. Logs must have been
    started. Raises `Misconfigured` if an address cannot be used or requires keys or TLS that are
    not set, and whatever the application's lifespan raises.
    """
    authority = app.state.authority
    context = tls_context(settings)
    listener = listen(settings, listen_at, is_open=authority.is_open)
    served: ASGIApp = app
    if settings.http_trusted_proxies:
        served = _OnlyFromProxies(app, settings.http_trusted_proxies)
    config = uvicorn.Config(
        served,
        http=Connection,
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    config.load()
    config.ssl = context
    log.info("%s: listening at %s", app.title, listener.url)
    if authority.is_open:
        log.warning(
            "no keys are set (http_keys_file, http_jwt_issuer): "
            "only this machine can connect, and everyone on it may do everything"
        )
    server = _Server(config, app, has_metrics=bool(settings.metrics_listen))
    _spare_lasting_objects()
    try:
        with serving_metrics(settings, SERVICE):
            server.run(sockets=[listener.socket])
    finally:
        listener.socket.close()
    log.info("%s: stopped", app.title)


def _spare_lasting_objects() -> None:
    """Keep the garbage collector from what the start has made, and let it run less often.

    Otherwise it looks at 60,000 lasting objects again and again, for 25 ms each time in which no
    request is answered. Few objects of a request are in cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


class _Server(uvicorn.Server):
    """Tells streams when it stops, and ends with exit code 0 after a signal."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, *, has_metrics: bool) -> None:
        super().__init__(config)
        self._app = app
        self._has_metrics = has_metrics

    async def serve(self, sockets: Any = None) -> None:
        """Serve while the application's lifespan lasts.

        uvicorn would run it too, but it logs what that raises and ends the process.
        """
        asyncio.get_running_loop().set_exception_handler(log_uncaught_in_tasks)
        async with self._app.router.lifespan_context(self._app):
            tasks = []
            if self._has_metrics:
                tasks.append(asyncio.create_task(follow_readiness(self._app.state.check_ready)))
            try:
                await super().serve(sockets)
            finally:
                for task in tasks:
                    task.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while serving; uvicorn itself would raise them again afterwards."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: Any = None) -> None:
        """Take no new connections, let streams end, and wait for what has begun."""
        log.info("%s: stopping", self._app.title)
        self._app.state.stopping.set()
        HEALTH.lacks(Unavailable("the service stops", code="service_stopping"), START)
        await super().shutdown(sockets)


class _OnlyFromProxies:
    """Refuses requests that do not come from a trusted proxy, and believes its headers."""

    def __init__(self, app: ASGIApp, proxies: str) -> None:
        networks = [text.strip() for text in proxies.split(",") if text.strip()]
        self._networks = [ip_network(text) for text in networks]
        self._app = app
        self._behind_proxy: Any = ProxyHeadersMiddleware(app, networks)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
        elif self._is_trusted(scope["client"]):
            await self._behind_proxy(scope, receive, send)
        else:
            refused = Rejected(
                "this service answers only requests from its proxy", code="not_from_proxy"
            )
            await problem_response(refused)(scope, receive, send)

    def _is_trusted(self, client: tuple[str, int] | None) -> bool:
        address = ip_address(client[0]) if client else None
        return address is not None and any(address in network for network in self._networks)
