"""Draws docs/images/flow-*.svg, the way of a command to the read models, from the text below.

Two files, because a picture on a page cannot follow the reader's choice of light or dark by itself
wherever it is shown; pages choose with `prefers-color-scheme`.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple
from xml.sax.saxutils import escape

Kind = Literal["process", "topic", "store"]
Theme = Literal["light", "dark"]


class Box(NamedTuple):
    """A box of the picture; `lines` below the first are small."""

    kind: Kind
    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]


class Arrow(NamedTuple):
    """An arrow through these points, with a text beside its first or middle part."""

    points: tuple[tuple[int, int], ...]
    label: str = ""
    label_at: tuple[int, int] = (0, 0)


WIDTH: Final = 1040
HEIGHT: Final = 360
DESCRIPTION: Final = (
    "Commands go to the topic user-commands. One handler per partition decides them and writes "
    "events, history and outcomes in one Kafka transaction. Projectors fill PostgreSQL and "
    "Elasticsearch from the events. The outcome goes back to the sender."
)
BOXES: Final = (
    Box("process", 12, 112, 150, 92, ("commands", "users create, import", "HTTP, Python")),
    Box("topic", 200, 120, 164, 76, ("user-commands", "the only topic", "that clients write")),
    Box("process", 402, 112, 160, 92, ("handler", "one writer per partition", "exactly once")),
    Box("topic", 618, 44, 164, 64, ("user-events", "latest state per user")),
    Box("topic", 618, 126, 164, 64, ("user-history", "every event")),
    Box("topic", 618, 208, 164, 64, ("user-outcomes", "accepted or rejected")),
    Box("store", 884, 12, 144, 70, ("PostgreSQL", "get, list, summary")),
    Box("store", 884, 98, 144, 70, ("Elasticsearch", "search, suggest")),
    Box("store", 884, 184, 144, 70, ("PostgreSQL", "history, past states")),
)
TRANSACTION: Final = (600, 12, 200, 276)
ARROWS: Final = (
    Arrow(((162, 158), (200, 158))),
    Arrow(((364, 158), (402, 158))),
    Arrow(((562, 158), (600, 158))),
    Arrow(((782, 66), (884, 47)), "projector", (840, 44)),
    Arrow(((782, 84), (884, 130)), "projector", (843, 96)),
    Arrow(((782, 162), (884, 216)), "projector", (836, 214)),
    Arrow(((700, 272), (700, 336), (87, 336), (87, 204)), "outcome and token", (390, 328)),
)
COLOURS: Final[dict[Theme, dict[str, str]]] = {
    "light": {
        "text": "#1f2328",
        "small": "#57606a",
        "line": "#57606a",
        "process": "#ddf4ff",
        "process-line": "#0969da",
        "topic": "#fff1e5",
        "topic-line": "#bc4c00",
        "store": "#dafbe1",
        "store-line": "#1a7f37",
    },
    "dark": {
        "text": "#f0f6fc",
        "small": "#b1bac4",
        "line": "#9198a1",
        "process": "#0c2d4f",
        "process-line": "#58a6ff",
        "topic": "#3d2106",
        "topic-line": "#f0883e",
        "store": "#0f3320",
        "store-line": "#3fb950",
    },
}
_FONT: Final = "font-family='system-ui, -apple-system, Segoe UI, Roboto, sans-serif'"


def flow(theme: Theme) -> str:
    """Return the picture as an SVG document with a transparent background."""
    colours = COLOURS[theme]
    tip = (
        "<marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='8' markerHeight='8' "
        f"orient='auto'><path d='M0 0 L8 4 L0 8 z' fill='{colours['line']}'/></marker>"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>From a command to the read models</title><desc>{escape(DESCRIPTION)}</desc>",
        f"<defs>{tip}</defs>",
        f"<g {_FONT} text-anchor='middle' fill='{colours['text']}'>",
        *_transaction(colours),
        *(part for arrow in ARROWS for part in _arrow(arrow, colours)),
        *(part for box in BOXES for part in _box(box, colours)),
        "</g></svg>",
    ]
    return "\n".join(parts) + "\n"


def _transaction(colours: dict[str, str]) -> Iterator[str]:
    x, y, width, height = TRANSACTION
    yield (
        f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='8' fill='none' "
        f"stroke='{colours['line']}' stroke-dasharray='5 4'/>"
    )
    yield _text(x + width // 2, y + 20, "one Kafka transaction", colours["small"], 13)


def _arrow(arrow: Arrow, colours: dict[str, str]) -> Iterator[str]:
    points = " ".join(f"{x},{y}" for x, y in arrow.points)
    yield (
        f"<polyline points='{points}' fill='none' stroke='{colours['line']}' stroke-width='1.6' "
        "marker-end='url(#tip)'/>"
    )
    if arrow.label:
        yield _text(*arrow.label_at, arrow.label, colours["small"], 13)


def _box(box: Box, colours: dict[str, str]) -> Iterator[str]:
    paint = f"fill='{colours[box.kind]}' stroke='{colours[f'{box.kind}-line']}' stroke-width='1.5'"
    x, y, width, height, right = *box[1:5], box.x + box.width
    if box.kind == "store":
        curve = f"a{width / 2:g} 9 0 0 0 {width} 0"
        yield (
            f"<path {paint} d='M{x} {y + 9} v{height - 18} {curve} v-{height - 18} "
            f"a{width / 2:g} 9 0 0 0 -{width} 0 {curve}'/>"
        )
    else:
        yield f"<rect {paint} x='{x}' y='{y}' width='{width}' height='{height}' rx='6'/>"
    if box.kind == "topic":  # a log grows at its end
        line = f"stroke='{colours['topic-line']}' stroke-width='1'"
        yield from (f"<path {line} d='M{right - n} {y} v{height}'/>" for n in (7, 12))
    shift = 5 if box.kind == "store" else 0
    middle = x + (width - 12 * (box.kind == "topic")) // 2
    first = y + height // 2 + shift - 9 * (len(box.lines) - 1) + 5
    yield _text(middle, first, box.lines[0], colours["text"], 15, weight="600")
    for number, line in enumerate(box.lines[1:], 1):
        yield _text(middle, first + 19 * number, line, colours["small"], 12)


def _text(x: int, y: int, text: str, colour: str, size: int, *, weight: str = "400") -> str:
    return (
        f"<text x='{x}' y='{y}' font-size='{size}' font-weight='{weight}' fill='{colour}'>"
        f"{escape(text)}</text>"
    )
