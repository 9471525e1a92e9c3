"""Figures and tables as Markdown."""

from collections.abc import Sequence
from typing import Any


def spread_text(one: dict[str, float] | None, *, with_range: bool = True) -> str:
    """Return a median with the least and the greatest, with about three figures."""
    if one is None:
        return "not measured"
    median, low, high = one["median"], one["least"], one["greatest"]
    digits = next((n for n, least in enumerate((100, 10, 1.005)) if median >= least), 3)
    if one["repeats"] == 1 or not with_range:
        return f"{median:,.{digits}f}"
    return f"{median:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table."""
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)
