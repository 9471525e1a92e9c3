"""The tables of the clients that wait for each answer, in docs/performance.md."""

from collections.abc import Iterator
from typing import Any

from scripts.bench.report.cells import spread_text, table


def client_tables(found: dict[str, Any]) -> dict[str, str]:
    """Return the Markdown of each table by the name in its marker."""
    clients = [f"{n} client{'s' if n > 1 else ''}" for n in found["clients"]]
    ratios = [
        (f"rollbook / {peer}: {kind}", *map(spread_text, of_clients.values()))
        for peer, kinds in found["ratios"].items()
        for kind, of_clients in kinds.items()
    ]
    return {
        "clients": table(("commands/s", *clients), list(_rates(found))),
        "clients-ms": table(("ms, median and 99th percentile", *clients), list(_times(found))),
        "clients-ratios": table(("ratio of the rates", *clients), ratios),
    }


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield what was measured with each number of clients, and the label of its row."""
    for side, kinds in found["measured"].items():
        for kind, of_clients in kinds.items():
            yield f"{side}: {kind}", list(of_clients.values())


def _rates(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for label, measured in _rows(found):
        yield label, *(spread_text(one["per_second"]) for one in measured)


def _times(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for label, measured in _rows(found):
        cells = (
            [spread_text(one["ms"][cut], with_range=False) for cut in ("p50", "p99")]
            for one in measured
        )
        yield label, *map(" and ".join, cells)
