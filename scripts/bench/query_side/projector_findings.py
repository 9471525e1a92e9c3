"""What `rollbook bench projectors` reports: its figures, their ratios, and how both are shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from scripts.bench.peers import debezium, quix
from scripts.bench.query_side import our_projectors, upper_bounds
from scripts.bench.query_side.query_load import QUERIES, READERS
from scripts.bench.query_side.visible import STORES
from scripts.bench.report.measure import GOALS, Findings
from scripts.bench.search.rates import KINDS

PARTS: Final = ("postgres", "elasticsearch", "rebuild", "visible", "queries", "search")
PEERS: Final = {
    "debezium": "debezium_per_second",
    "quix_postgres": "quix_postgres_per_second",
    "quix_elasticsearch": "quix_elasticsearch_per_second",
}
# Figure → the tasks that it has.
DEBEZIUM: Final = {"debezium_per_second": 1, "debezium_two_tasks_per_second": 2}
RATIOS: Final = {
    "postgres_live_vs_debezium": ("postgres_live_per_second", "debezium_per_second"),
    "postgres_two_processes_vs_debezium": (
        "postgres_two_processes_per_second",
        "debezium_two_tasks_per_second",
    ),
    "postgres_live_vs_quix": ("postgres_live_per_second", "quix_postgres_per_second"),
    "postgres_rebuild_vs_quix": ("postgres_rebuild_per_second", "quix_postgres_per_second"),
    "postgres_live_vs_copy_limit": ("postgres_live_per_second", "copy_into_table_per_second"),
    "elasticsearch_vs_quix": ("elasticsearch_live_per_second", "quix_elasticsearch_per_second"),
    "elasticsearch_vs_bulk_limit": ("elasticsearch_live_per_second", "bulk_per_second"),
    "rebuild_after_updates_ratio": ("rebuild_compacted_seconds", "rebuild_plain_seconds"),
}
# Figures that are dropped when a peer or a part fails in a later repeat.
FIGURES: Final = {
    **{peer: (figure,) for peer, figure in PEERS.items()},
    "debezium": tuple(DEBEZIUM),
    "rebuild": ("rebuild_plain_seconds", "rebuild_compacted_seconds"),
}
_GUARANTEES: Final = {
    "postgres_live_per_second": our_projectors.GUARANTEES["postgres"],
    "postgres_rebuild_per_second": "as live; indexes and summary last, then compared with the log",
    "elasticsearch_live_per_second": our_projectors.GUARANTEES["elasticsearch"],
    "postgres_two_processes_per_second": our_projectors.GUARANTEES["postgres"],
    "debezium_per_second": debezium.GUARANTEE,
    "debezium_two_tasks_per_second": debezium.GUARANTEE,
    "quix_postgres_per_second": quix.GUARANTEE,
    "quix_elasticsearch_per_second": quix.GUARANTEE,
    "copy_into_table_per_second": upper_bounds.GUARANTEE,
    "copy_into_heap_per_second": upper_bounds.GUARANTEE,
    "bulk_per_second": upper_bounds.GUARANTEE,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: see the options of the command."""

    users: int
    queries_users: int
    repeats: int
    parts: frozenset[str]
    as_json: bool

    @property
    def updated_users(self) -> int:
        """How many users are updated ten times before a rebuild."""
        return self.users // 2

    def measures(self, *parts: str) -> bool:
        """Return whether any of these parts is measured."""
        return not self.parts.isdisjoint(parts)


def failed_parts(findings: Findings) -> list[str]:
    """Return which parts of ours could not be measured; a peer may be missing."""
    return [name for name in findings.unavailable if name not in PEERS]


def as_json(plan: Plan, findings: Findings, machine: dict[str, Any]) -> dict[str, Any]:
    """Return the object that `--json` prints; a figure that was not measured is null."""
    spreads = {name: one.as_json() for name, one in findings.spreads(RATIOS).items()}
    cuts = ("p50", "p99")
    nested = {
        "visible_ms": _nested(spreads, "visible_ms", STORES, cuts),
        "visible_under_load_ms": _nested(spreads, "visible_under_load_ms", STORES, cuts),
        "query_ms": _nested(spreads, "query_ms", QUERIES, cuts),
        "readers": {
            str(readers): {
                "per_second": spreads.pop(f"readers {readers} per_second", None),
                "query_ms": _nested(spreads, f"readers {readers}", QUERIES, cuts),
            }
            for readers in READERS
        },
        "search_generated_hit_at_1": {
            kind: spreads.pop(f"search_generated_hit_at_1 {kind}", None) for kind in KINDS
        },
    }
    wanted = (*RATIOS, "projector_rss_mb", "search_hit_at_1", "search_held_out_hit_at_1")
    guarantees = {name: text for name, text in _GUARANTEES.items() if name in spreads}
    return {
        "users": plan.users,
        "queries_users": plan.queries_users,
        "repeats": plan.repeats,
        "machine": machine,
        "peers": [debezium.NAME, quix.NAME],
        **dict.fromkeys(wanted),
        **spreads,
        **nested,
        "guarantees": guarantees,
        "unavailable": findings.unavailable,
    }


def _nested(
    spreads: dict[str, Any], name: str, kinds: tuple[str, ...], cuts: tuple[str, ...]
) -> dict[str, Any]:
    """Take the percentiles of each kind out of `spreads`."""
    return {
        kind: {cut: spreads.pop(f"{name} {kind} {cut}", None) for cut in cuts} for kind in kinds
    }


def as_rows(findings: Findings) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of the table: what was measured, its spread, the goal, what it guarantees."""
    for name, one in findings.spreads(RATIOS).items():
        yield name, str(one), GOALS.get(name, ""), _GUARANTEES.get(name, "")
    for name, reason in findings.unavailable.items():
        yield name, f"not measured: {reason}", "", ""
