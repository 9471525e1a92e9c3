"""Serves `GET /noop`: what a request costs that needs no work.

`noop` passes the whole application of our services: their limits, checks, key and access
log. `bare_noop` is FastAPI on uvicorn as its documentation has it, without an access log.
"""

import sys
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI
from starlette.responses import Response

from runtime.http import Caller, Scope, application, json_response, require, serve
from runtime.logs import start_logging
from runtime.settings import load_settings
from scripts.stack.places import HOST

_ANSWER: dict[str, Any] = {"status": "ok"}


def main() -> None:
    """Serve `noop` or `bare_noop`, the first argument, at the port that is the second."""
    kind, port = sys.argv[1:]
    if kind == "bare_noop":
        uvicorn.run(_bare(), host=HOST, port=int(port), access_log=False, log_level="warning")
        return
    settings = load_settings().settings
    start_logging(settings, "noop")
    app = application(settings, title="no-op")

    @app.get("/noop")
    async def noop(_caller: Annotated[Caller, Depends(require(Scope.QUERIES))]) -> Response:
        return json_response(_ANSWER)

    serve(settings, app, f"{HOST}:{port}")


def _bare() -> FastAPI:
    app = FastAPI(telemetry={"tracing": False, "metrics": False})

    @app.get("/noop")
    async def noop() -> dict[str, Any]:
        return _ANSWER

    return app


if __name__ == "__main__":
    main()
