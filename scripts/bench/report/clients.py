"""The tables of the clients that wait for each answer, in docs/performance.md."""

from typing import Any

from scripts.bench.report.cells import spread_text, table
from scripts.bench.report.services import by_clients, heads_of_clients, milliseconds


def client_tables(found: dict[str, Any], copied: dict[str, Any]) -> dict[str, str]:
    """Return the Markdown of each table by the name in its marker.

    `copied` is of a run in which each topic had several copies; its tables end with `-copies`.
    """
    of_copies = _tables(copied)
    return _tables(found) | {f"{name}-copies": text for name, text in of_copies.items()}


def _tables(found: dict[str, Any]) -> dict[str, str]:
    measured = {
        f"{side}: {kind}": of_clients
        for side, kinds in found["measured"].items()
        for kind, of_clients in kinds.items()
    }
    ratios = [
        (f"rollbook / {peer}: {kind}", *map(spread_text, of_clients.values()))
        for peer, kinds in found["ratios"].items()
        for kind, of_clients in kinds.items()
    ]
    return {
        "clients": by_clients(found, "commands/s", measured, "per_second"),
        "clients-ms": milliseconds(found, measured),
        "clients-ratios": table(("ratio of the rates", *heads_of_clients(found)), ratios),
    }
