"""The page Read models: how far each is behind, its versions, and building and swapping them."""

import time
from collections import deque
from typing import Any, Final

from starlette.responses import Response

from scripts.console.jobs import started
from scripts.console.pages import Page, quoted

_KEPT: Final = 60
_SECONDS_APART: Final = 1.5
_GAP_SECONDS: Final = 10.0


class LagHistory:
    """The latest lags of each live version, as far as somebody looked at the page."""

    def __init__(self) -> None:
        self._lags: dict[str, deque[float]] = {}
        self._added_at = 0.0

    def add(self, read_models: list[dict[str, Any]]) -> None:
        """Add the present lags, unless another page has just done so."""
        now = time.monotonic()
        if now < self._added_at + _SECONDS_APART:
            return
        if now > self._added_at + _GAP_SECONDS:  # nobody looked
            self._lags.clear()
        self._added_at = now
        for model in read_models:
            for version in model["versions"]:
                if version["live"] and version["lag_seconds"] is not None:
                    lags = self._lags.setdefault(model["read_model"], deque(maxlen=_KEPT))
                    lags.append(version["lag_seconds"])

    def of(self, name: str) -> list[float]:
        """Return the lags of a read model in seconds, oldest first."""
        return list(self._lags.get(name, ()))


async def read_models(page: Page) -> Response:
    """Show all read models; the page asks again every two seconds."""
    found = (await page.query("/read-models"))["read_models"]
    history: LagHistory = page.request.app.state.lag_history
    history.add(found)
    template = "_read_models.html" if page.is_fragment else "read_models.html"
    lags = {model["read_model"]: history.of(model["read_model"]) for model in found}
    return page.show(template, read_models=found, lags=lags, job=page.asked("job"))


async def operate(page: Page) -> Response:
    """Start an operation on a read model or one of its versions; the page then shows the job."""
    operation, path = page.place("operation"), f"/read-models/{page.place('name')}"
    if number := page.field("version"):
        path += f"/versions/{quoted(number)}"
    if operation == "drop":
        return await started(page, "DELETE", path, "/read-models")
    return await started(page, "POST", f"{path}/{operation}", "/read-models")
