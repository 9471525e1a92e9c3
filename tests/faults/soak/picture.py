"""Draws the series of a soak: one small panel for each process and measure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.sax.saxutils import escape

from scripts.bench.report.plot import document
from tests.faults.soak.series import MEASURES

_OF_PROCESSES: Final = ("memory", "files", "threads", "connections")
# More series than processes fit into one row: each names its process.
_OF_SOME: Final = ("lag", "disk")
_LEFT: Final = 152
_ACROSS: Final = 152
_WIDTH: Final = 138
_HEIGHT: Final = 30
_ROW: Final = 52
_STYLE: Final = """
  .axis, .fault { stroke: #afb8c1; stroke-width: 0.5; }
  .fault { stroke-width: 1; }
  .flat, .grown { stroke: #0969da; stroke-width: 1.5; fill: none; }
  .grown { stroke: #cf222e; }
  .small { font-size: 10px; fill: #59636e; }
  @media (prefers-color-scheme: dark) {
    .axis, .fault { stroke: #656c76; }
    .flat { stroke: #4493f8; }
    .grown { stroke: #f85149; }
    .small { fill: #9198a1; }
  }
"""


def draw(report: Mapping[str, Any]) -> str:
    """Return the picture of a report as SVG."""
    series = {(one["measure"], one["process"]): one for one in report["series"]}
    processes = dict.fromkeys(process for measure, process in series if measure == "memory")
    parts = [
        f'<text class="small" x="{_LEFT + n * _ACROSS}" y="20">{MEASURES[name].title}</text>'
        for n, name in enumerate(_OF_PROCESSES)
    ]
    y = 36
    for process in processes:
        parts.append(f'<text x="8" y="{y + _HEIGHT - 12}">{escape(process)}</text>')
        for n, measure in enumerate(_OF_PROCESSES):
            parts += _panel(report, series.get((measure, process)), n, y)
        y += _ROW
    for measure in _OF_SOME:
        title, _, unit = MEASURES[measure].title.partition(", ")
        parts.append(f'<text x="8" y="{y + _HEIGHT - 12}">{title}</text>')
        parts.append(f'<text class="small" x="8" y="{y + _HEIGHT + 1}">{unit}</text>')
        shown = [process for name, process in series if name == measure]
        for n, process in enumerate(shown):
            parts += _panel(
                report, series[measure, process], n, y, process.removesuffix(" projector")
            )
        y += _ROW
    note = (
        f"{report['minutes']:g} minutes, {report['commands']:,} commands, {len(report['faults'])} "
        "faults (ticks). Each panel begins at 0; its greatest and its last value are written."
    )
    parts.append(f'<text class="note" x="8" y="{y + 8}">{escape(note)}</text>')
    return document(parts, y + 20, "Memory, files, threads, connections, lag and disk", _STYLE)


def _panel(
    report: Mapping[str, Any], one: Mapping[str, Any] | None, n: int, y: int, caption: str = ""
) -> Iterator[str]:
    if one is None or not one["values"]:
        return
    left, seconds = _LEFT + n * _ACROSS, 60 * report["minutes"]
    most = max(one["values"])
    points = [
        (left + _WIDTH * time / seconds, y + _HEIGHT * (1 - value / (most or 1)))
        for time, value in zip(one["times"], one["values"], strict=True)
    ]
    kind = "flat" if one["is_flat"] else "grown"
    path = " ".join(f"{x:.1f},{height:.1f}" for x, height in points)
    bottom = y + _HEIGHT
    yield f'<line class="axis" x1="{left}" y1="{bottom}" x2="{left + _WIDTH}" y2="{bottom}"/>'
    for time, _ in report["faults"]:
        x = left + _WIDTH * time / seconds
        yield f'<line class="fault" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 3}"/>'
    yield f'<polyline class="{kind}" points="{path}"/>'
    text = f"{caption} {most:,.0f}, {one['values'][-1]:,.0f}".strip()
    yield f'<text class="small" x="{left}" y="{y - 3}">{escape(text)}</text>'
