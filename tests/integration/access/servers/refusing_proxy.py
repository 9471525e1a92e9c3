"""A reverse proxy that demands a login in front of a real server, as many deployments have one.

It passes on everything but what it refuses, and it refuses as nginx does: with a page of HTML.
"""

import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.started.processes import eventually

USER, PASSWORD = "app", "right"
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "DELETE"]
# What belongs to one connection, or is computed again.
_NOT_PASSED_ON: Final = {
    *("host", "connection", "content-length", "content-encoding", "transfer-encoding"),
    *("accept-encoding", "authorization", "server", "date"),
}


class RefusingProxy:
    """A running proxy at `url`. `refuses` decides which requests with a login get status 403."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.password = PASSWORD
        # What requests must have in their header of this name, unless it is the user's password.
        self.authorization = ""
        self.refuses: Callable[[Request], bool] = lambda _request: False
        self.refused: list[str] = []
        routes = [Route("/{path:path}", self._answer, methods=_METHODS)]
        app = Starlette(routes=routes, lifespan=self._connected)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
        )
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)

    @property
    def url(self) -> str:
        """Its address, without a path."""
        host, port = self._uvicorn.servers[0].sockets[0].getsockname()
        return f"http://{host}:{port}"

    def refuse(self, method: str, part: str) -> None:
        """Refuse requests with this method and `part` in their path, from now on."""
        self.refuses = lambda asked: asked.method == method and part in asked.url.path

    def refuse_nothing(self) -> None:
        """Pass on every request with a login from now on."""
        self.refuses = lambda _request: False

    def start(self) -> None:
        """Start it; return once it answers."""
        self._thread.start()
        eventually(lambda: self._uvicorn.started, what="the proxy")

    def stop(self) -> None:
        """End it and wait."""
        self._uvicorn.should_exit = True
        self._thread.join(20)

    @asynccontextmanager
    async def _connected(self, _app: Starlette) -> AsyncIterator[None]:
        async with httpx2.AsyncClient(timeout=60, trust_env=False) as self._client:
            yield

    async def _answer(self, request: Request) -> Response:
        login = b64encode(f"{USER}:{self.password}".encode()).decode()
        wanted = self.authorization or f"Basic {login}"
        if request.headers.get("authorization") != wanted:
            return _refusal(401, "401 Authorization Required")
        if self.refuses(request):
            self.refused.append(f"{request.method} {request.url.path}")
            return _refusal(403, "403 Forbidden")
        answer = await self._client.request(
            request.method,
            f"{self._server}{request.url.path}?{request.url.query}",
            content=await request.body(),
            headers=_passed_on(request.headers.items()),
        )
        return Response(
            answer.content, answer.status_code, headers=_passed_on(answer.headers.items())
        )


def _passed_on(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in _NOT_PASSED_ON}


def _refusal(status: int, title: str) -> Response:
    page = f"<html><head><title>{title}</title></head><body>{title}</body></html>"
    headers = {"www-authenticate": 'Basic realm="rollbook"'} if status == 401 else {}
    return Response(page, status, headers=headers, media_type="text/html")


@contextmanager
def refusing_proxy(server: str) -> Iterator[RefusingProxy]:
    """Run a proxy in front of `server`, a URL without a path, inside the `with` block."""
    proxy = RefusingProxy(server)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
