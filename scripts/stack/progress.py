"""Tells people how far a fetch or a start has come: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runtime.terminal import say
from scripts.stack.fetch import DOWNLOAD_MEGABYTES

_LINE_EVERY_MEGABYTES = 50


@contextmanager
def fetch_progress() -> Iterator[Callable[[float], None]]:
    """Yield what is to be called with the megabytes loaded so far."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("fetching servers"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of about {task.total:.0f} MB"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=DOWNLOAD_MEGABYTES, visible=False)
        yield lambda megabytes: progress.update(task, completed=megabytes, visible=True)


class _Lines:
    """A line for every 50 megabytes."""

    def __init__(self) -> None:
        self._next = _LINE_EVERY_MEGABYTES

    def __call__(self, megabytes: float) -> None:
        if megabytes >= self._next:
            say(f"fetched {megabytes:.0f} of about {DOWNLOAD_MEGABYTES} MB")
            self._next = int(megabytes) + _LINE_EVERY_MEGABYTES
