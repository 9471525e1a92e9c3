"""Sends one command and writes the answer to its caller."""

import asyncio
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response

from producers.client import AsyncCommandClient, Outcome, SentCommand
from producers.client.outcomes import OUTCOME_FIELDS
from producers.service.headers import Preferences
from runtime.http import json_response, problem_response
from schemas.errors import NotInTime
from schemas.records import CHANGE_EMAIL, CREATE_USER, UPDATE_USER, UserCommand

MOST_WAIT_SECONDS: Final = 30
# After this time a command that no broker took is withdrawn.
SEND_SECONDS: Final = 10
_ASYNC: Final = "respond-async"


async def decide(
    client: AsyncCommandClient, command: UserCommand, preferences: Preferences
) -> Response:
    """Send `command` and return the response for its outcome.

    Waits 10 s for the outcome, or as long as `Prefer: wait` says, up to 30 s. If it is not in time,
    the response is 504; with `respond-async` it is 202 as soon as the command is on the log, where
    it is certain to be decided. Raises what `AsyncCommandClient.start` and `SentCommand.offset`
    raise; then nothing was sent, or the error says that it is unknown.
    """
    asked = preferences.wait_seconds
    default = 0 if preferences.respond_async else SEND_SECONDS
    seconds = default if asked is None else min(asked, MOST_WAIT_SECONDS)
    applied = _applied(preferences, seconds)
    sent = await client.start(command, max(seconds, SEND_SECONDS))
    try:
        outcome = await _outcome_within(sent, seconds)
        if outcome is not None:
            return respond(command["kind"], outcome, applied)
        if not preferences.respond_async:
            raise _still_undecided(sent, seconds)
        await sent.offset()
    except NotInTime as error:
        if not preferences.respond_async or sent.delivery.offset < 0:
            return _not_in_time(sent, error, applied)
    headers = applied | {"Location": location(sent), "Retry-After": "1"}
    return json_response(undecided(sent.command_id), status=202, headers=headers)


async def _outcome_within(sent: SentCommand, seconds: float) -> Outcome | None:
    """Return the outcome; None if it takes longer than `seconds`."""
    if seconds >= SEND_SECONDS:
        return await sent.outcome()  # the client has the same time limit
    try:
        async with asyncio.timeout(seconds):
            return await sent.outcome()
    except TimeoutError:
        return None


def respond(kind: str, outcome: Outcome, headers: dict[str, str]) -> Response:
    """Return the response for an outcome: 201 or 200, or the problem document of a rejection."""
    fields = outcome.as_fields()
    if outcome.token is not None:
        headers["Rollbook-Token"] = outcome.token
    if not outcome.accepted:
        if outcome.code == "version_conflict":
            headers["ETag"] = f'"{outcome.version}"'
        members = ("command_id", "user_id", "version", "token")
        known = {name: fields[name] for name in members if fields[name] is not None}
        return problem_response(outcome.rejection(), headers=headers, **known)
    if kind in {CREATE_USER, UPDATE_USER, CHANGE_EMAIL}:  # a user remains
        headers["ETag"] = f'"{outcome.version}"'
    if kind != CREATE_USER:
        return json_response(fields, headers=headers)
    headers["Location"] = f"/users/{outcome.user_id}"
    return json_response(fields, status=201, headers=headers)


def undecided(command_id: str) -> dict[str, Any]:
    """Return what stands in for the outcome of a command that is not decided yet."""
    return dict.fromkeys(OUTCOME_FIELDS) | {"command_id": command_id, "status": "undecided"}


def location(sent: SentCommand) -> str:
    """Return where the outcome of a confirmed command is found by a short read of one partition."""
    return (
        f"/commands/{quote(sent.command_id, safe='')}?partition={sent.partition}"
        f"&offset={sent.delivery.offset}&answer_from={sent.answer_from}"
    )


def _not_in_time(sent: SentCommand, error: NotInTime, headers: dict[str, str]) -> Response:
    if sent.delivery.offset >= 0:
        headers["Location"] = location(sent)
    return problem_response(error, headers=headers, command_id=sent.command_id)


def _still_undecided(sent: SentCommand, seconds: float) -> NotInTime:
    return NotInTime(
        f"no answer to command {sent.command_id} within {seconds} s; it may still be decided"
    )


def _applied(preferences: Preferences, seconds: int) -> dict[str, str]:
    """Return the header that says which preferences were followed, if there were any."""
    applied = [_ASYNC] if preferences.respond_async else []
    if preferences.wait_seconds is not None:
        applied.append(f"wait={seconds}")
    return {"Preference-Applied": ", ".join(applied)} if applied else {}
