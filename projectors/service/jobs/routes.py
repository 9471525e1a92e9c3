"""`/jobs` and the operations that start one: rebuild, compare, swap, rollback, drop, verify."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Request, Response

from projectors.catalog import open_versions
from projectors.service.api import documents as d
from projectors.service.api.answers import EVENT_STREAM, NDJSON, Stream, sse, wants
from projectors.service.api.asking import body_of
from projectors.service.api.parameters import Parameter
from projectors.service.jobs.jobs import Job, Jobs
from runtime.http import Caller, Scope, json_response, require, routes, stopping
from runtime.settings import Settings
from schemas.errors import Rejected

_VERSION_MOST: Final = 2**31 - 1
# Python refuses to convert digits without a limit.
_VERSION_NUMBER: Final = re.compile(r"[1-9][0-9]{0,9}")
_LINE_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_VERIFY: Final = (
    Parameter(
        "timeout",
        {"type": "number", "minimum": 0, "maximum": 86_400},
        "How many seconds to wait for the projectors to catch up.",
        default=30.0,
    ),
    Parameter(
        "log_only",
        {"type": "boolean"},
        "Check only the topics, not the read models.",
        default=False,
    ),
)
_Operator = Annotated[Caller, Depends(require(Scope.OPERATE))]


def accepted(job: Job) -> Response:
    """Return the answer to a request that started a job."""
    return json_response(job.as_json(), status=202, headers={"location": f"/jobs/{job.number}"})


def job_routes(jobs: Jobs) -> APIRouter:
    """Return the routes of jobs."""
    router = routes(tags=["jobs"], dependencies=[Depends(require(Scope.OPERATE))])

    @router.get("/jobs", **d.jobs())
    async def all_jobs() -> Response:
        return json_response({"jobs": [job.as_json() for job in jobs.all()]})

    @router.get("/jobs/{job}", **d.job())
    async def one_job(job: str) -> Response:
        return json_response(jobs.get(job).as_json())

    @router.delete("/jobs/{job}", **d.stop_job())
    async def stop(job: str) -> Response:
        return accepted(jobs.stop(job))

    @router.get("/jobs/{job}/lines", **d.job_lines())
    async def lines(request: Request, job: str) -> Response:
        last = request.headers.get("last-event-id", "0")
        if not _LINE_NUMBER.fullmatch(last):
            raise Rejected("Last-Event-ID is not the number of a line", code="invalid_event_id")
        as_sse = wants(request, EVENT_STREAM)
        followed = _lines(jobs.get(job), int(last), stopping(request), as_sse=as_sse)
        return Stream(followed, EVENT_STREAM if as_sse else NDJSON, lambda: None)

    return router


async def _lines(job: Job, after: int, stopping: Any, *, as_sse: bool) -> AsyncIterator[bytes]:
    async for number, line in job.follow(after, stopping):
        text = orjson.dumps(line, default=str).decode()
        yield sse(text, str(number)) if as_sse else f"{text}\n".encode()
    if as_sse and not stopping.is_set():
        # A browser would connect again for ever: this tells a page to close the stream.
        yield f"event: end\ndata: {orjson.dumps(job.as_json()).decode()}\n\n".encode()


def operation_routes(settings: Settings, jobs: Jobs) -> APIRouter:
    """Return the routes that start an operation on read models, or `verify`."""
    router = routes(tags=["operations"])

    def start(operation: str, name: str, version: str | None, caller: Caller) -> Response:
        open_versions(settings, name).close()  # raises if there is no such read model
        asked: dict[str, Any] = {"read_model": name}
        if version is not None:
            asked["version"] = _number_of(name, version)
        return accepted(jobs.start(operation, asked, caller.name))

    def of_model(operation: str) -> None:
        @router.post(f"/read-models/{{read_model}}/{operation}", **d.operation(operation))
        async def start_it(read_model: str, caller: _Operator) -> Response:
            return start(operation, read_model, None, caller)

    def of_version(operation: str) -> None:
        path = f"/read-models/{{read_model}}/versions/{{version}}/{operation}"

        @router.post(path, **d.operation(operation))
        async def start_it(read_model: str, version: str, caller: _Operator) -> Response:
            return start(operation, read_model, version, caller)

    of_model("rebuild")
    of_model("rollback")
    of_version("compare")
    of_version("swap")

    @router.delete("/read-models/{read_model}/versions/{version}", **d.operation("drop"))
    async def drop(read_model: str, version: str, caller: _Operator) -> Response:
        return start("drop", read_model, version, caller)

    @router.post("/verify", **d.verify(_VERIFY))
    async def verify(request: Request, caller: _Operator) -> Response:
        has_body = await request.body() != b""
        asked = await body_of(request, _VERIFY) if has_body else _defaults()
        return accepted(jobs.start("verify", asked, caller.name))

    return router


def _defaults() -> dict[str, Any]:
    return {one.name: one.default for one in _VERIFY}


def _number_of(name: str, text: str) -> int:
    if _VERSION_NUMBER.fullmatch(text) and int(text) <= _VERSION_MOST:
        return int(text)
    raise Rejected(f"{name} has no such version", code="version_not_found")
