"""The tables of the services in docs/performance.md."""

from typing import Any, Final

from scripts.bench.report.cells import spread_text, table
from scripts.bench.report.measure import GOALS

_KINDS: Final = {
    "noop": "no-op of the services",
    "bare_noop": "no-op of plain FastAPI",
    "get": "rollbook, get",
    "peer_get": "peer, get",
    "create": "rollbook, creation",
    "python_create": "rollbook, creation from Python",
    "peer_create": "peer, creation",
}
_RATIOS: Final = {
    "get_vs_noop": "get / no-op",
    "create_vs_noop": "creation / no-op",
    "create_vs_python": "creation / creation from Python",
    "get_vs_peer": "get / get of the peer",
    "create_vs_peer": "creation / creation of the peer",
}
_MANY: Final = {
    "`POST /commands`, creations/s": "streamed_per_second",
    "`rollbook users import`, lines/s": "imported_per_second",
    "`POST /commands` / import": "streamed_vs_imported",
}
_PROCESSES: Final = ("client", "service", "handler", "kafka", "projector", "postgres")
# Where the goal for creations is.
SHOWN_CLIENTS: Final = "64"


def service_tables(found: dict[str, Any]) -> dict[str, str]:
    """Return the Markdown of each table by the name in its marker."""
    measured = {
        _KINDS[kind]: found["measured"][kind] for kind in _KINDS if kind in found["measured"]
    }
    many = [(label, spread_text(found[name]), GOALS.get(name, "")) for label, name in _MANY.items()]
    return {
        "services": by_clients(found, "requests/s", measured, "per_second"),
        "services-ms": milliseconds(found, measured),
        "services-ratios": _ratios(found),
        "services-processor": _processor(measured),
        "services-many": table(("measured", "median (least to greatest)", "goal"), many),
    }


def by_clients(found: dict[str, Any], what: str, measured: dict[str, Any], figure: str) -> str:
    """Return a table of `figure`: a row for each label, a column for each number of clients."""
    head = (what, *heads_of_clients(found))
    rows = [
        (label, *(spread_text(one[figure]) for one in of_clients.values()))
        for label, of_clients in measured.items()
    ]
    return table(head, rows)


def heads_of_clients(found: dict[str, Any]) -> list[str]:
    """Return the head of the column for each number of clients."""
    return [f"{n} client{'s' if n > 1 else ''}" for n in found["clients"]]


def milliseconds(found: dict[str, Any], measured: dict[str, Any]) -> str:
    """Return a table of the median and 99th percentile of the answers, as `by_clients` does."""
    head = ("ms, median and 99th percentile", *heads_of_clients(found))
    rows = [
        (
            label,
            *(
                " and ".join(
                    spread_text(one["ms"][cut], with_range=False) for cut in ("p50", "p99")
                )
                for one in of_clients.values()
            ),
        )
        for label, of_clients in measured.items()
    ]
    return table(head, rows)


def _ratios(found: dict[str, Any]) -> str:
    rows = [
        (label, *map(spread_text, found[name].values()), _goal(name, list(found[name])))
        for name, label in _RATIOS.items()
        if name in found
    ]
    return table(("ratio", *heads_of_clients(found), "goal"), rows)


def _goal(name: str, clients: list[str]) -> str:
    goals = {n: GOALS[f"{name} {n}"] for n in clients if f"{name} {n}" in GOALS}
    if len(goals) < len(clients):
        return "; ".join(f"{n} clients: {goal}" for n, goal in goals.items())
    return "".join(set(goals.values()))


def _processor(measured: dict[str, Any]) -> str:
    head = (f"µs per request, {SHOWN_CLIENTS} clients", *_PROCESSES, "all")
    rows = []
    for label, of_clients in measured.items():
        spent = {
            name: one["median"] for name, one in of_clients[SHOWN_CLIENTS]["processor_us"].items()
        }
        cells = [f"{spent[name]:,.0f}" if name in spent else "" for name in _PROCESSES]
        rows.append((label, *cells, f"{sum(spent.values()):,.0f}"))
    return table(head, rows)
