"""The page Figures: how many users there are, how old they are, and how many come a minute."""

from typing import Final

from starlette.responses import Response

from scripts.console.pages import Page

_MINUTES: Final = 60


async def figures(page: Page) -> Response:
    """Show the figures; the page asks again every five seconds."""
    summary = await page.query("/summary")
    ages = await page.query("/search", sort="created", facets="true", limit=1)
    created = await page.query("/creations", minutes=_MINUTES)
    template = "_figures.html" if page.is_fragment else "figures.html"
    return page.show(
        template, summary=summary, ages=ages["facets"]["ages"], created=created["per_minute"]
    )
