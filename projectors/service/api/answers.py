"""The form of answers: JSON as the commands print it, entity tags, links, and streams."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from runtime.http import json_response

NDJSON: Final = "application/x-ndjson"
EVENT_STREAM: Final = "text/event-stream"
# An answer is personal data: no shared cache may keep it. A browser's may, if it asks again.
_PRIVATE: Final = {"cache-control": "private, no-cache"}


def tagged(request: Request, content: Mapping[str, Any], version: int) -> Response:
    """Return a user with its version as the entity tag; 304 if the caller has that version."""
    headers = {**_PRIVATE, "etag": f'"{version}"'}
    if matches(request.headers.get("if-none-match"), headers["etag"]):
        return Response(status_code=304, headers=headers)
    return json_response(content, headers=headers)


def matches(if_none_match: str | None, tag: str) -> bool:
    """Return whether a header If-None-Match (RFC 9110, 13.1.2) names the tag, weak or strong."""
    if if_none_match is None:
        return False
    given = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return tag in given or given == {"*"}


def next_link(request: Request, name: str, value: object) -> dict[str, str]:
    """Return the header that links the next page of a GET (RFC 8288); {} after the last page.

    `name` is the parameter that has another value there.
    """
    if value is None or request.method != "GET":
        return {}
    # The next page waits for no token: it comes after this one, which did.
    dropped = {name, "after", "timeout"}
    pairs = [pair for pair in request.query_params.multi_items() if pair[0] not in dropped]
    return {"link": f'<{request.url.path}?{urlencode([*pairs, (name, value)])}>; rel="next"'}


def wants(request: Request, media_type: str) -> bool:
    """Return whether the header Accept names a media type."""
    return media_type in request.headers.get("accept", "")


class Stream(StreamingResponse):
    """An answer that is sent as it is made, and not held back by a proxy.

    `on_end` is called once, also if the caller has gone away before the first line.
    """

    def __init__(
        self, lines: AsyncIterator[bytes], media_type: str, on_end: Callable[[], None]
    ) -> None:
        super().__init__(lines, media_type=media_type, headers={"x-accel-buffering": "no"})
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


def sse(data: str, event_id: str) -> bytes:
    """Return one event of a stream of server-sent events; `data` is a single line."""
    return f"id: {event_id}\ndata: {data}\n\n".encode()
