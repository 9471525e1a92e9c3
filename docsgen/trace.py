"""Draws docs/images/trace-*.svg, the trace of one creation, from spans that a test has recorded.

`tests/integration/runtime/test_traces.py` writes docs/figures/trace.json if the environment
variable ROLLBOOK_TEST_TRACE_FILE names it.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias
from xml.sax.saxutils import escape

from docsgen.flow import COLOURS, Theme
from docsgen.pages import ROOT

Span: TypeAlias = dict[str, Any]

RECORDED: Final = ROOT / "docs" / "figures" / "trace.json"
_WIDTH: Final = 1040
_LEFT: Final = 470
_RIGHT: Final = 76
_ROW: Final = 30
_TOP: Final = 34
_INDENT: Final = 14
_STEPS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_MOST_STEPS: Final = 8
_FONT: Final = "font-family='system-ui, -apple-system, Segoe UI, Roboto, sans-serif'"


def trace(theme: Theme) -> str:
    """Return the picture as an SVG document with a transparent background."""
    spans: list[Span] = json.loads(RECORDED.read_text("utf-8"))
    colours = COLOURS[theme]
    last_ms = max(span["end_ms"] for span in spans)
    scale = (_WIDTH - _LEFT - _RIGHT) / last_ms
    height = _TOP + _ROW * len(spans) + 8
    described = "; ".join(
        f"{one['service']}, {one['name']}, from {one['start_ms']} to {one['end_ms']} ms"
        for one in spans
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>The trace of one creation</title><desc>{escape(described)}</desc>",
        f"<g {_FONT} fill='{colours['text']}' font-size='14'>",
        *_axis(last_ms, scale, height, colours),
        *(
            part
            for row, span in enumerate(spans)
            for part in _row(row, span, spans, scale, colours)
        ),
        "</g></svg>",
    ]
    return "\n".join(parts) + "\n"


def _axis(last_ms: float, scale: float, height: int, colours: dict[str, str]) -> Iterator[str]:
    step = next(one for one in _STEPS_MS if last_ms / one <= _MOST_STEPS)
    for ms in range(0, int(last_ms) + 1, step):
        x = round(_LEFT + ms * scale, 1)
        yield (
            f"<path d='M{x} {_TOP - 8} V{height - 6}' stroke='{colours['line']}' "
            "stroke-width='0.6' stroke-dasharray='2 4'/>"
        )
        yield (
            f"<text x='{x}' y='{_TOP - 16}' font-size='12' text-anchor='middle' "
            f"fill='{colours['small']}'>{ms} ms</text>"
        )


def _row(
    row: int, span: Span, spans: list[Span], scale: float, colours: dict[str, str]
) -> Iterator[str]:
    y = _TOP + row * _ROW
    indent = _INDENT * _depth(span, spans)
    yield (
        f"<text x='{4 + indent}' y='{y + 19}'><tspan font-weight='600'>{escape(span['name'])}"
        f"</tspan> <tspan font-size='12' fill='{colours['small']}'>{escape(span['service'])}"
        "</tspan></text>"
    )
    x = round(_LEFT + span["start_ms"] * scale, 1)
    duration_ms = span["end_ms"] - span["start_ms"]
    width = max(round(duration_ms * scale, 1), 2)
    kind = _colour(span)
    yield (
        f"<rect x='{x}' y='{y + 5}' width='{width}' height='{_ROW - 10}' rx='3' "
        f"fill='{colours[kind]}' stroke='{colours[f'{kind}-line']}' stroke-width='1.2'/>"
    )
    yield (
        f"<text x='{round(x + width + 6, 1)}' y='{y + 19}' font-size='12' "
        f"fill='{colours['small']}'>{duration_ms:.1f} ms</text>"
    )


def _depth(span: Span, spans: list[Span]) -> int:
    parent = next((one for one in spans if one["id"] == span["parent"]), None)
    return 0 if parent is None else 1 + _depth(parent, spans)


def _colour(span: Span) -> Literal["process", "topic", "store"]:
    """Return the colour that the same part has in docs/images/flow-*.svg."""
    if span["service"].startswith("rollbook-projector"):
        return "store"
    return "topic" if span["name"].startswith("send") else "process"
