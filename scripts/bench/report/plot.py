"""Draws the measured rates beside those of the peers.

The picture is plain SVG with a style sheet, so it needs no library and follows the reader's light
or dark theme.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

_WIDTH: Final = 760
_LABELS_WIDTH: Final = 270
_BARS_WIDTH: Final = 360
_ROW: Final = 24
# Of the processors before a run. With more, other programs shared the machine with the benchmark;
# idle servers take some hundredths.
_BUSY_SHARE: Final = 0.2
_BAR: Final = 14
_STYLE: Final = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .note { fill: #59636e; font-size: 12px; }
  .ours { fill: #0969da; }
  .peer { fill: #afb8c1; }
  .range { stroke: #1f2328; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .ours { fill: #4493f8; }
    .peer { fill: #656c76; }
    .range { stroke: #e6edf3; }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One measured rate; `spread` has its median, least and greatest."""

    label: str
    spread: dict[str, float]
    ours: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars on one scale."""

    title: str
    bars: list[Bar]


def panels(figures: dict[str, Any]) -> list[Panel]:
    """Return what the picture shows of the output of the benchmarks; null is left out."""
    commands, query_side = figures["commands"], figures["projectors"]
    peers = commands["eventsourcing"]["measured"]
    durable = [peer for peer in peers if peer["synchronous_commit"] == "on"]
    default, best = durable[0], max(durable, key=lambda p: p["creates_per_second"]["median"])
    functions = ", functions" if best["functions"] else ""
    peer_name = f"eventsourcing {commands['eventsourcing']['version']}"
    rates = {
        "rollbook, projector": ("postgres_live_per_second", True),
        "rollbook, rebuild with indexes": ("postgres_rebuild_per_second", True),
        query_side["peers"][0].partition(" on ")[0]: ("debezium_per_second", False),
        query_side["peers"][1]: ("quix_postgres_per_second", False),
    }
    documents = {
        "rollbook, projector": ("elasticsearch_live_per_second", True),
        query_side["peers"][1]: ("quix_elasticsearch_per_second", False),
    }
    return [
        Panel(
            "Creations per second, commands sent without waiting (peer: waiting clients)",
            [
                Bar(
                    "rollbook, two processes", commands["two_process_creates_per_second"], ours=True
                ),
                Bar("rollbook, one process", commands["creates_per_second"], ours=True),
                Bar(
                    f"eventsourcing, {best['clients']} clients{functions}",
                    best["creates_per_second"],
                    ours=False,
                ),
            ],
        ),
        Panel(
            "Creations per second, one client that waits for each answer",
            [
                Bar("rollbook", commands["closed_loop_creates_per_second"], ours=True),
                Bar(peer_name, default["creates_per_second"], ours=False),
            ],
        ),
        Panel("Rows per second from Kafka into PostgreSQL", list(_bars(query_side, rates))),
        Panel(
            "Documents per second from Kafka into Elasticsearch", list(_bars(query_side, documents))
        ),
        _over_http(figures["services"]["measured"], peer_name),
    ]


def _over_http(measured: dict[str, Any], peer_name: str) -> Panel:
    bars = {
        "no-op": ("noop", True),
        "rollbook, get": ("get", True),
        f"{peer_name}, get": ("peer_get", False),
        "rollbook, creation": ("create", True),
        f"{peer_name}, creation": ("peer_create", False),
    }
    rates = {kind: of_clients["64"]["per_second"] for kind, of_clients in measured.items()}
    title = "Requests per second over HTTP, 64 clients that wait for each answer"
    return Panel(title, list(_bars(rates, bars)))


def _bars(found: dict[str, Any], named: dict[str, tuple[str, bool]]) -> Iterator[Bar]:
    for label, (name, ours) in named.items():
        if found.get(name) is not None:
            yield Bar(label, found[name], ours)


def svg(figures: dict[str, Any]) -> str:
    """Return the picture."""
    parts, y = [], 8
    for panel in panels(figures):
        y += 22
        parts.append(f'<text class="title" x="8" y="{y}">{escape(panel.title)}</text>')
        y += 10
        scale = _BARS_WIDTH / max(bar.spread["greatest"] for bar in panel.bars)
        for bar in panel.bars:
            parts += _bar(bar, y, scale)
            y += _ROW
    for note in _notes(figures):
        y += 20
        parts.append(f'<text class="note" x="8" y="{y}">{escape(note)}</text>')
    return document(parts, y + 12, "Measured rates of rollbook and its peers")


def document(parts: Sequence[str], height: int, label: str, style: str = "") -> str:
    """Return a picture of these elements, which `label` describes; `style` adds to its sheet."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(label)}">\n'
        f"<style>{_STYLE}{style}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _notes(figures: dict[str, Any]) -> Iterator[str]:
    machines = [run["machine"] for run in figures.values()]
    yield (
        f"Medians of the repeats, lines from least to greatest; "
        f"{machines[0]['cpus']} cores for everything, servers included. See docs/performance.md."
    )
    if was_busy({part: figures[part] for part in ("commands", "projectors")}):
        yield "The processors were busy before some of these runs."


def was_busy(figures: dict[str, Any]) -> bool:
    """Return whether other programs may have used the machine when a benchmark began.

    A run that did not measure it counts as busy.
    """
    return any(run["machine"].get("busy_before", 1) > _BUSY_SHARE for run in figures.values())


def _bar(bar: Bar, y: int, scale: float) -> Iterator[str]:
    kind = "ours" if bar.ours else "peer"
    least, median, greatest = (
        _LABELS_WIDTH + bar.spread[name] * scale for name in ("least", "median", "greatest")
    )
    middle, text_y = y + _BAR / 2, y + _BAR - 3
    label_x = _LABELS_WIDTH - 10
    yield f'<text x="{label_x}" y="{text_y}" text-anchor="end">{escape(bar.label)}</text>'
    yield (
        f'<rect class="{kind}" x="{_LABELS_WIDTH}" y="{y}" '
        f'width="{median - _LABELS_WIDTH:.1f}" height="{_BAR}" rx="2"/>'
    )
    yield (
        f'<line class="range" x1="{least:.1f}" y1="{middle}" x2="{greatest:.1f}" y2="{middle}"/>'
    )
    yield f'<text x="{greatest + 10:.1f}" y="{text_y}">{bar.spread["median"]:,.0f}</text>'
