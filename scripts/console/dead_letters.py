"""The page Dead letters: by reason, what each is about, and settling them."""

import logging
from collections import Counter
from typing import Any

from starlette.responses import Response

from scripts.console.jobs import started
from scripts.console.pages import Page

log = logging.getLogger(__name__)


async def dead_letters(page: Page) -> Response:
    """List the letters: the open ones, or all, perhaps of one reason."""
    asked = {name: page.asked(name) for name in ("all", "reason") if page.asked(name)}
    every, reason = "all" in asked, asked.get("reason")
    found = await page.query("/dead-letters", **({"all": "true"} if every else {}))
    letters: list[dict[str, Any]] = found["dead_letters"]
    return page.show(
        "_letters.html" if page.is_fragment else "dead_letters.html",
        asked=asked,
        reasons=Counter(letter["error"] for letter in letters).most_common(),
        letters=[letter for letter in letters if reason in (None, letter["error"])],
        reason=reason,
        every=every,
        job=page.asked("job"),
    )


async def dead_letter(page: Page) -> Response:
    """Show one letter; the record itself, which may be personal data, only when a form asks."""
    place = page.place("letter")
    is_asked_for = page.request.method == "POST"
    parameters = {"payload": "true"} if is_asked_for else {}
    found = await page.query(f"/dead-letters/{place}", **parameters)
    if is_asked_for:  # logged only now: the path may have anything in it
        log.info("key %s: looks at the record of the dead letter %s", page.session.name, place)
    return page.show("dead_letter.html", place=place, there=found)


async def settle(page: Page) -> Response:
    """Retry or discard the letters that were ticked."""
    body = {"letters": page.form.get("letter", [])}
    return await started(page, "POST", page.request.url.path, "/dead-letters", body)
