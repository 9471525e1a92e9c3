"""The paths of commands: the outcome of one, and many at once."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.responses import Response

from producers.client import CommandPlace, Outcome, find_outcome
from producers.service import openapi
from producers.service.answers import undecided
from producers.service.state import service_of
from producers.service.stream import CommandStream, StreamedAnswers
from producers.service.users import Changes
from runtime.http import Caller, Scope, json_response, require, routes, stopping
from runtime.http.admission import media_type
from schemas.errors import NotInTime, Rejected
from schemas.fields.rules import clean_command_id

NDJSON: Final = "application/x-ndjson"

_LOOKUP_SECONDS: Final = 20
_PLACE: Final = ("partition", "offset", "answer_from")
_MOST_OFFSET: Final = 2**63 - 1
# Python refuses to convert digits without a limit.
_OFFSET: Final = re.compile(r"[0-9]{1,19}")

commands: Final = routes(tags=["Commands"], default_response_class=Response)


@commands.get("/commands/{command_id:path}", **openapi.SHOW)
async def show_command(
    request: Request,
    command_id: str,
    _caller: Annotated[Caller, Depends(require(Scope.COMMANDS))],
) -> Response:
    """Show the outcome of a command, also long after it was sent.

    The `Location` of a command has the three parameters with which its outcome is found in a short
    read of one partition. Without them, the log is read from the time that the id states (if it is
    a UUIDv7), or from its beginning.
    """
    service = service_of(request)
    key = clean_command_id(command_id)
    place = _place_of(request, service.settings.partitions)

    def look_up() -> Outcome:
        check = _deadline_check(_LOOKUP_SECONDS)
        return find_outcome(service.settings, key, check, place, service.registry)

    try:
        outcome = await asyncio.get_running_loop().run_in_executor(service.lookups, look_up)
    except NotInTime as error:
        if error.code != "not_decided":
            raise
        return json_response(undecided(key), status=202, headers={"Retry-After": "1"})
    return json_response(outcome.as_fields())


def _place_of(request: Request, partitions: int) -> CommandPlace | None:
    """Return the place that the query names, None if it names none. Raises `Rejected`."""
    given = [request.query_params.getlist(name) for name in _PLACE]
    if not any(given):
        return None
    numbers = [int(texts[0]) if _is_offset(texts) else -1 for texts in given]
    place = CommandPlace(*numbers)
    if min(numbers) < 0 or place.partition >= partitions:
        raise Rejected(
            "partition, offset and answer_from are not the place of a command",
            code="invalid_request",
            next_step="use the Location of the command as it is, or leave them out",
        )
    return place


def _is_offset(texts: list[str]) -> bool:
    [text] = texts if len(texts) == 1 else [""]
    return _OFFSET.fullmatch(text) is not None and int(text) <= _MOST_OFFSET


def _deadline_check(seconds: float) -> Callable[[int], None]:
    """Return a function that raises `NotInTime` if it is called after that time."""
    deadline = time.monotonic() + seconds

    def check(_records: int) -> None:
        if time.monotonic() > deadline:
            raise NotInTime(
                f"the outcome was not found within {seconds:g} s",
                code="request_not_in_time",
                next_step="use the Location of the command: it says where to look",
            )

    return check


@commands.post("/commands", **openapi.MANY)
async def send_commands(request: Request, caller: Changes) -> Response:
    """Send many commands: one JSON object per line, answered by one line each.

    The answers come in the order in which the commands are decided, while further lines are read:
    read them while you send. Commands about the same user are decided in the order of their lines.
    """
    media_type(request.headers.get("content-type", ""), frozenset({NDJSON, "application/jsonl"}))
    stream = CommandStream(service_of(request).client, caller, stopping(request))
    return StreamedAnswers(stream.answers(request.stream()), media_type=NDJSON)
