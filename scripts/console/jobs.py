"""Operations that take long: start one, follow its lines. The page Check is one of them."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.responses import Response

from scripts.console.pages import NAVIGATION, Page, message, part, see

log = logging.getLogger(__name__)


async def started(
    page: Page, method: str, path: str, shown_at: str, body: dict[str, Any] | None = None
) -> Response:
    """Start an operation, and see its job on the page `shown_at`. Who started what is logged."""
    answer = await page.send("queries", method, path, body=body)
    # Only after the answer: before, the path may have anything in it.
    log.info("key %s: %s %s", page.session.name, method, path)
    return see(f"{shown_at}?job={answer.json()['job']}")


async def lines(page: Page) -> Response:
    """Send the lines of a job as they come."""
    last = page.request.headers.get("last-event-id") or page.asked("last")
    return page.stream(_lines(page, page.place("job"), last), "_line_problem.html")


async def _lines(page: Page, job: str, last: str) -> AsyncIterator[bytes]:
    async with page.services.stream(page.session.key, f"/jobs/{job}/lines", last=last) as found:
        async for event in found:
            content = orjson.loads(event.data)
            if event.event == "end":
                yield message("rows", part("_job_end.html", job=content))
                yield message("done", "")
                return
            yield message("rows", part("_line.html", line=content), event.id)
            if "fraction" in content:
                yield message("progress", str(content["fraction"]))


async def stop(page: Page) -> Response:
    """Ask a job to stop; its lines then say that it did."""
    job = page.place("job")
    await page.send("queries", "DELETE", f"/jobs/{job}")
    log.info("key %s: stops the job %s", page.session.name, job)
    return see(f"{page.field('page')}?job={job}" if page.field("page") in NAVIGATION else "/check")


async def check(page: Page) -> Response:
    """Show the page that checks all invariants."""
    return page.show("check.html", job=page.asked("job"))


async def run_check(page: Page) -> Response:
    """Start the check."""
    return await started(page, "POST", "/verify", "/check")
