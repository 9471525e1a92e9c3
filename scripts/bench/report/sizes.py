"""The table and the pictures of `rollbook bench sizes` at several numbers of users."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any, Final
from xml.sax.saxutils import escape

from scripts.bench.report.cells import table
from scripts.bench.report.plot import document

_MILLION: Final = 1_000_000
# Greater figures are shown without decimals.
_SHORT: Final = 10
_COLUMNS: Final = 3
_ACROSS: Final = 250
_DOWN: Final = 84
_WIDTH: Final = 190
_HEIGHT: Final = 34
_STYLE: Final = """
  .axis { stroke: #afb8c1; stroke-width: 0.5; }
  .line { stroke: #0969da; stroke-width: 1.5; fill: none; }
  .point { fill: #0969da; }
  .small { font-size: 10px; fill: #59636e; }
  @media (prefers-color-scheme: dark) {
    .axis { stroke: #656c76; }
    .line { stroke: #4493f8; }
    .point { fill: #4493f8; }
    .small { fill: #9198a1; }
  }
"""


@dataclass(frozen=True, slots=True)
class _Panel:
    """A line from the left (0) to the right (1), of any heights."""

    name: str
    figures: str
    line: list[tuple[float, float]]
    has_points: bool


def size_tables(found: dict[str, Any]) -> dict[str, str]:
    """Return the Markdown of the table by the name in its marker."""
    runs = found["sizes"]
    head = ("measured", *(f"{run['users']:,} users" for run in runs))
    rows = [(f"{name}, {unit}", *map(_figure, values)) for name, unit, values in _series(runs)]
    return {"sizes": table(head, rows)}


def sizes_picture(found: dict[str, Any]) -> str:
    """Return a panel for each row of the table, as SVG; each begins at 0."""
    runs = found["sizes"]
    users = [run["users"] for run in runs]
    decades = log10(users[-1] / users[0]) or 1
    across = [log10(count / users[0]) / decades for count in users]
    panels = [
        _Panel(
            name,
            f"{unit}: {', '.join(map(_figure, values))}",
            list(zip(across, values, strict=True)),
            has_points=True,
        )
        for name, unit, values in _series(runs)
    ]
    counts = ", ".join(f"{count:,}" for count in users)
    note = f"Across, on a logarithmic scale: {counts} users. Each panel begins at 0."
    return _picture(panels, note, "What users take, by their number")


def memory_picture(found: dict[str, Any]) -> str:
    """Return a panel for each process with its memory while it works, as SVG; each begins at 0."""
    run = found["sizes"][-1]
    panels = []
    for name, points in run["memory_over_time"].items():
        last_seconds, last_mb = points[-1]
        shown = f"{last_seconds:,.0f} s; at most {max(mb for _, mb in points):,.0f} MB, last "
        line = [(seconds / (last_seconds or 1), mb) for seconds, mb in points]
        panels.append(_Panel(name, f"{shown}{last_mb:,.0f}", line, has_points=False))
    note = f"Resident memory from the start, with {run['users']:,} users. Each panel begins at 0."
    return _picture(panels, note, "Memory of each process over time")


def _series(runs: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, list[float]]]:
    """Yield name, unit and figures of what was measured; times are those of a million users."""
    for unit, named in runs[-1]["figures"].items():
        for name in named:
            values = [run["figures"][unit][name] for run in runs]
            if unit == "seconds":
                pairs = zip(values, runs, strict=True)
                values = [value * _MILLION / run["users"] for value, run in pairs]
                yield name, "s per million users", values
            else:
                yield name, unit, values


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= _SHORT else f"{value:,.1f}"


def _picture(panels: Sequence[_Panel], note: str, label: str) -> str:
    parts = [part for number, panel in enumerate(panels) for part in _drawn(number, panel)]
    below = 16 + _DOWN * -(-len(panels) // _COLUMNS)
    parts.append(f'<text class="note" x="8" y="{below + 8}">{escape(note)}</text>')
    return document(parts, below + 20, label, _STYLE)


def _drawn(number: int, panel: _Panel) -> Iterator[str]:
    left, top = 8 + number % _COLUMNS * _ACROSS, 36 + number // _COLUMNS * _DOWN
    highest = max(height for _, height in panel.line) or 1
    points = [
        (left + _WIDTH * share, top + _HEIGHT * (1 - height / highest))
        for share, height in panel.line
    ]
    yield f'<text x="{left}" y="{top - 18}">{escape(panel.name)}</text>'
    yield f'<text class="small" x="{left}" y="{top - 5}">{escape(panel.figures)}</text>'
    bottom = top + _HEIGHT
    yield f'<line class="axis" x1="{left}" y1="{bottom}" x2="{left + _WIDTH}" y2="{bottom}"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline class="line" points="{path}"/>'
    for x, y in points if panel.has_points else ():
        yield f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="2"/>'
