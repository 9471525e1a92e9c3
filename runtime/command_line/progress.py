"""Shows the progress of a long command: a bar on a terminal, a line every few seconds elsewhere.

It goes to stderr, so that results can be piped. With `--json` nothing is shown: stderr is then
for errors only.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runtime.command_line.terminal import say

_LINE_EVERY_SECONDS = 5.0
_BAR_EVERY_SECONDS = 0.2


@contextmanager
def progress_reporter(
    describe: Callable[[float], str],
    completed: Callable[[], int],
    total: int | None,
    *,
    as_json: bool,
    only_on_terminal: bool = False,
) -> Iterator[Callable[[], None] | None]:
    """Yield a function to call often, which shows progress when due; None if nothing is shown.

    `describe` gets the seconds since the start. `completed` of `total` (None: unknown) is the
    length of the bar.
    """
    started_at = time.monotonic()
    if as_json or (only_on_terminal and not sys.stderr.isatty()):
        yield None
    elif sys.stderr.isatty():
        with _bar(total) as update:
            yield _every(
                _BAR_EVERY_SECONDS,
                lambda: update(completed(), describe(time.monotonic() - started_at)),
            )
    else:
        yield _every(_LINE_EVERY_SECONDS, lambda: say(describe(time.monotonic() - started_at)))


def _every(seconds: float, report: Callable[[], None]) -> Callable[[], None]:
    next_at = time.monotonic() + seconds

    def report_if_due() -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + seconds
            report()

    return report_if_due


@contextmanager
def _bar(total: int | None) -> Iterator[Callable[[int, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda completed, text: progress.update(task, completed=completed, description=text)
