"""The page Commands: what became of a command."""

from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from scripts.console.pages import Page, quoted
from scripts.console.services import Problem


async def commands(page: Page) -> Response:
    """Show the answer to the command whose id is given."""
    command_id = page.asked("id")
    outcome: dict[str, Any] | None = None
    refusal = None
    if command_id:
        try:
            answer = await page.send("commands", "GET", f"/commands/{quoted(command_id)}")
            outcome = answer.json()
        except Problem as problem:
            if problem.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}:
                raise
            refusal = problem
    return page.show("commands.html", command_id=command_id, outcome=outcome, refusal=refusal)
