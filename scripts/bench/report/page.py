"""Writes the tables of docs/performance.md and its pictures from the output of the benchmarks.

`make bench` runs all benchmarks and this; `make plots` only this. It replaces only the text
between the markers of a table, so that no figure is copied by hand.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scripts.bench.report import plot
from scripts.bench.report.cells import spread_text, table
from scripts.bench.report.clients import client_tables
from scripts.bench.report.measure import GOALS
from scripts.bench.report.services import service_tables
from scripts.bench.report.sizes import memory_picture, size_tables, sizes_picture

RUNS: Final = Path("docs/figures")
PAGE: Final = Path("docs/performance.md")
PICTURE: Final = Path("docs/images/figures.svg")
SIZES_PICTURE: Final = Path("docs/images/sizes.svg")
MEMORY_PICTURE: Final = Path("docs/images/memory.svg")

_COMMANDS: Final = {
    "handler, one process, creations/s": "creates_per_second",
    "handler, two processes, creations/s": "two_process_creates_per_second",
    "two processes / one": "two_process_speedup",
    "upper bound: pass-through, commands/s": "passthrough_per_second",
    "one process / pass-through": "vs_passthrough",
    "one client that waits for each answer, creations/s": "closed_loop_creates_per_second",
    "its median, ms": "single_command_ms p50",
    "its 99th percentile, ms": "single_command_ms p99",
    "memory per user, with the index of addresses, bytes": "bytes_per_user",
    "restore, users/s, all of them created in the last five minutes": "restore_users_per_second",
    "restore, users/s, whose commands are older": "restore_old_users_per_second",
}
_PEER_RATIOS: Final = {
    "commands sent without waiting / one waiting peer client": "vs_eventsourcing",
    "one waiting client / one waiting peer client": "closed_loop_vs_eventsourcing",
}
_WRITERS: Final = {
    "rollbook, PostgreSQL, live": "postgres_live_per_second",
    "rollbook, PostgreSQL, live, two processes": "postgres_two_processes_per_second",
    "rollbook, PostgreSQL, rebuild with its indexes": "postgres_rebuild_per_second",
    "the same and the comparison with the log": "postgres_rebuild_and_compare_per_second",
    "Debezium": "debezium_per_second",
    "Debezium, two tasks": "debezium_two_tasks_per_second",
    "Quix Streams, PostgreSQL": "quix_postgres_per_second",
    "upper bound: binary COPY into the same table": "copy_into_table_per_second",
    "upper bound: binary COPY into a table without indexes": "copy_into_heap_per_second",
    "rollbook, Elasticsearch": "elasticsearch_live_per_second",
    "Quix Streams, Elasticsearch": "quix_elasticsearch_per_second",
    "upper bound: prepared bulk requests": "bulk_per_second",
}
_RATIOS: Final = {
    "PostgreSQL, live / Debezium": "postgres_live_vs_debezium",
    "PostgreSQL, live, two processes / Debezium, two tasks": "postgres_two_processes_vs_debezium",
    "PostgreSQL, live / Quix Streams": "postgres_live_vs_quix",
    "PostgreSQL, rebuild / Quix Streams": "postgres_rebuild_vs_quix",
    "PostgreSQL, live / COPY into the same table": "postgres_live_vs_copy_limit",
    "Elasticsearch / Quix Streams": "elasticsearch_vs_quix",
    "Elasticsearch / prepared bulk requests": "elasticsearch_vs_bulk_limit",
    "rebuild after ten updates per user and compaction / without": "rebuild_after_updates_ratio",
}
_MEMORY: Final = {
    "PostgreSQL projector": ("projector_rss_mb", "projector_rss_mb_after_queries_users"),
    "Elasticsearch projector": (
        "elasticsearch_projector_rss_mb",
        "elasticsearch_projector_rss_mb_after_queries_users",
    ),
}


def tables(figures: dict[str, Any]) -> dict[str, str]:
    """Return the Markdown of each table by the name in its marker."""
    runs = [_run(line, figures[name]["machine"]) for name, line in _lines(figures).items()]
    head = (
        "command, with --json",
        "cores",
        "memory",
        "processors busy before it",
        "million loops/s",
    )
    return {
        "runs": table(head, runs) + _warning(figures),
        **_command_tables(figures["commands"]),
        **_projector_tables(figures["projectors"]),
        **service_tables(figures["services"]),
        **client_tables(figures["clients"], figures["clients-copies"]),
        **size_tables(figures["sizes"]),
    }


def _command_tables(found: dict[str, Any]) -> dict[str, str]:
    single = {f"single_command_ms {cut}": one for cut, one in found["single_command_ms"].items()}
    peers = [
        (
            one["clients"],
            "yes" if one["functions"] else "no",
            one["synchronous_commit"],
            spread_text(one["creates_per_second"]),
            one["durability"],
        )
        for one in found["eventsourcing"]["measured"]
    ]
    head = ("clients", "functions", "synchronous_commit", "creations/s", "survives")
    steps = [(step, spread_text(one)) for step, one in found["single_command_mean_ms"].items()]
    return {
        "commands": _goals_table(found | single, _COMMANDS),
        "steps": table(("of one command that is waited for, ms", "mean"), steps),
        "eventsourcing": table(head, peers),
        "commands-ratios": _goals_table(found, _PEER_RATIOS),
    }


def _projector_tables(found: dict[str, Any]) -> dict[str, str]:
    writers = [
        (label, spread_text(found.get(name)), found["guarantees"].get(name, ""))
        for label, name in _WRITERS.items()
    ]
    memory = [
        (label, *(spread_text(found.get(name)) for name in names))
        for label, names in _MEMORY.items()
    ]
    after = [f"after {found[count]:,} users" for count in ("users", "queries_users")]
    head = ("rows or documents per second", "median (least to greatest)", "what it guarantees")
    return {
        "writers": table(head, writers),
        "ratios": _goals_table(found, _RATIOS),
        "memory": table(("resident memory, MB", *after), memory),
        "queries": _milliseconds(found, "query_ms"),
        "readers": _readers(found["readers"]),
        "visible": _milliseconds(found, "visible_ms"),
        "visible-under-load": _milliseconds(found, "visible_under_load_ms"),
        "searches": _searches(found),
    }


def _searches(found: dict[str, Any]) -> str:
    searches = [
        ("written, those that the search was improved with", found["search_hit_at_1"]),
        ("written, held out", found.get("search_held_out_hit_at_1")),
        *(
            (f"generated: {kind.replace('_', ' ')}", share)
            for kind, share in found["search_generated_hit_at_1"].items()
        ),
    ]
    rows = [(kind, spread_text(share)) for kind, share in searches]
    return table(("queries", "first hit is the user meant"), rows)


def _lines(figures: dict[str, Any]) -> dict[str, str]:
    """Return the command line of each run, without default options."""
    commands, query_side, over_http = (
        figures[name] for name in ("commands", "projectors", "services")
    )
    seconds = commands["eventsourcing"]["seconds_each"]
    return {
        "commands": f"rollbook bench commands --users {commands['users']} "
        f"--state-users {commands['state_users']} --peer-seconds {seconds:g}",
        "clients": f"rollbook {_clients_part(figures['clients'])}",
        "clients-copies": "rollbook --config THREE_BROKERS "
        + _clients_part(figures["clients-copies"]),
        "projectors": f"rollbook bench projectors --users {query_side['users']} "
        f"--queries-users {query_side['queries_users']} --repeats {query_side['repeats']}",
        "services": f"rollbook bench services --users {over_http['users']} "
        f"--seconds {over_http['seconds_each']:g} --lines {over_http['lines']} "
        f"--repeats {over_http['repeats']}",
        "sizes": "rollbook bench sizes"
        + "".join(f" --users {one['users']}" for one in figures["sizes"]["sizes"]),
    }


def _clients_part(found: dict[str, Any]) -> str:
    seconds, repeats = found["seconds_each"], found["repeats"]
    return f"bench clients --seconds {seconds:g} --repeats {repeats}"


def _run(command: str, machine: dict[str, Any]) -> tuple[Any, ...]:
    memory = f"{machine['memory_gib']} GiB"
    busy = f"{machine['busy_before']:.0%}" if "busy_before" in machine else "not measured"
    speed = f"{machine['loops_per_second'] / 1e6:.1f}" if "loops_per_second" in machine else ""
    return f"`{command}`", machine["cpus"], memory, busy, speed


def _warning(figures: dict[str, Any]) -> str:
    if not plot.was_busy(figures):
        return ""
    return (
        "\n\n**The processors were busy before some of these runs**, with other programs or with "
        "servers that had just started. Then rates are lower than on an idle machine, and ratios "
        "favour rollbook: its batches suffer less than a client that waits for each answer, or "
        "than a JVM that is still compiling."
    )


def _goals_table(found: dict[str, Any], named: dict[str, str]) -> str:
    rows = [
        (label, spread_text(found.get(name)), GOALS.get(name, "")) for label, name in named.items()
    ]
    return table(("measured", "median (least to greatest)", "goal"), rows)


def _milliseconds(found: dict[str, Any], name: str) -> str:
    rows = [
        (kind, spread_text(cuts["p50"]), spread_text(cuts["p99"]))
        for kind, cuts in found[name].items()
    ]
    return table((name.replace("_", " "), "median", "99th percentile"), rows)


def _readers(found: dict[str, Any]) -> str:
    """Return the table of several readers at the same time."""
    several = found.values()
    rows = [("all queries, per second", *(spread_text(one["per_second"]) for one in several))]
    for query in next(iter(several))["query_ms"]:
        cuts = [one["query_ms"][query] for one in several]
        texts = [[spread_text(cut, with_range=False) for cut in one.values()] for one in cuts]
        rows.append((f"{query}, ms", *map(" and ".join, texts)))
    head = ("median and 99th percentile", *(f"{readers} readers" for readers in found))
    return table(head, rows)


def with_tables(page: str, found: Mapping[str, str]) -> str:
    """Return the page with every marked table replaced. Raises ValueError for an unknown marker."""

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in found:
            raise ValueError(f"there is no table {name}")
        return f"<!-- figures: {name} -->\n{found[name]}\n<!-- end of figures -->"

    pattern = r"<!-- figures: (?P<name>[\w-]+) -->\n.*?<!-- end of figures -->"
    return re.sub(pattern, replaced, page, flags=re.DOTALL)


def read_figures() -> dict[str, Any]:
    """Return what each benchmark printed, by its name."""
    names = ("commands", "clients", "clients-copies", "projectors", "services", "sizes")
    return {name: json.loads((RUNS / f"{name}.json").read_text("utf-8")) for name in names}


def main() -> None:
    """Write the tables and the pictures."""
    figures = read_figures()
    PAGE.write_text(with_tables(PAGE.read_text("utf-8"), tables(figures)), encoding="utf-8")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(plot.svg(figures), encoding="utf-8")
    SIZES_PICTURE.write_text(sizes_picture(figures["sizes"]), encoding="utf-8")
    MEMORY_PICTURE.write_text(memory_picture(figures["sizes"]), encoding="utf-8")


if __name__ == "__main__":
    main()
