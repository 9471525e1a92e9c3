"""The table of recovery times in Markdown, for docs/reliability.md."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from scripts.bench.report.cells import table


def markdown(found: Mapping[str, Any]) -> str:
    """Return a row for each case: the median and the worst, in seconds."""
    rows = [
        (
            case,
            one["until"],
            len(one["seconds"]),
            *_seconds(one["seconds"]),
            _seconds(one["server_seconds"])[0],
        )
        for case, one in found["cases"].items()
    ]
    head = ("what died", "until", "times", "median, s", "worst, s", "of it the server's start, s")
    return table(head, rows)


def _seconds(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return "", ""
    return f"{median(values):.1f}", f"{max(values):.1f}"
