"""What `rollbook bench projectors` finds: its figures, their ratios, and how both are shown."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from runtime.terminal import say
from schemas.errors import RollbookError
from scripts.bench import our_projectors, peer_debezium, peer_quix, store_limits
from scripts.bench.command_side import machine
from scripts.bench.measure import Spread, ratios, spread
from scripts.bench.query_load import QUERIES
from scripts.bench.visible import STORES

PARTS: Final = ("postgres", "elasticsearch", "rebuild", "visible", "queries", "search")
PEERS: Final = {
    "debezium": "debezium_per_second",
    "quix_postgres": "quix_postgres_per_second",
    "quix_elasticsearch": "quix_elasticsearch_per_second",
}
# Ours over theirs.
_RATIOS: Final = {
    "postgres_live_vs_debezium": ("postgres_live_per_second", "debezium_per_second"),
    "postgres_live_vs_quix": ("postgres_live_per_second", "quix_postgres_per_second"),
    "postgres_rebuild_vs_quix": ("postgres_rebuild_per_second", "quix_postgres_per_second"),
    "postgres_live_vs_copy_limit": ("postgres_live_per_second", "copy_into_table_per_second"),
    "elasticsearch_vs_quix": ("elasticsearch_live_per_second", "quix_elasticsearch_per_second"),
    "elasticsearch_vs_bulk_limit": ("elasticsearch_live_per_second", "bulk_per_second"),
    "rebuild_after_updates_ratio": ("rebuild_compacted_seconds", "rebuild_plain_seconds"),
}
# What a peer or a part finds, which stands or falls together.
_FIGURES: Final = {
    **{peer: (figure,) for peer, figure in PEERS.items()},
    "rebuild": ("rebuild_plain_seconds", "rebuild_compacted_seconds"),
}
_GOALS: Final = {
    "postgres_live_vs_debezium": "≥ 2",
    "postgres_live_vs_quix": "≥ 2.5",
    "postgres_rebuild_vs_quix": "≥ 4",
    "elasticsearch_vs_quix": "≥ 3",
    "elasticsearch_vs_bulk_limit": "≥ 0.6",
    "rebuild_after_updates_ratio": "≤ 1.3",
    "projector_rss_mb_after_queries_users": "as after fewer users",
    "elasticsearch_projector_rss_mb_after_queries_users": "as after fewer users",
    **{f"query_ms {query} p50": "≤ 10" for query in QUERIES},
    **{f"query_ms {query} p99": "≤ 40" for query in QUERIES},
}
_GUARANTEES: Final = {
    "postgres_live_per_second": our_projectors.GUARANTEES["postgres"],
    "postgres_rebuild_per_second": "as live; indexes and summary last, then compared with the log",
    "elasticsearch_live_per_second": our_projectors.GUARANTEES["elasticsearch"],
    "debezium_per_second": peer_debezium.GUARANTEE,
    "quix_postgres_per_second": peer_quix.GUARANTEE,
    "quix_elasticsearch_per_second": peer_quix.GUARANTEE,
    "copy_into_table_per_second": store_limits.GUARANTEE,
    "copy_into_heap_per_second": store_limits.GUARANTEE,
    "bulk_per_second": store_limits.GUARANTEE,
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
        """Say whether any of these parts is measured."""
        return not self.parts.isdisjoint(parts)


@dataclass(slots=True)
class Findings:
    """What was measured, a value a repeat; and of what could not be measured, why."""

    plan: Plan
    values: dict[str, list[float]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Add the value of one repeat."""
        self.values.setdefault(name, []).append(value)
        self.tell(f"  {name}: {value:,.2f}")

    def leave_out(self, name: str, error: RollbookError) -> None:
        """Note why a peer or a part has no figure; what it had of repeats before goes."""
        self.unavailable[name] = " ".join(filter(None, (str(error), error.next_step)))
        for figure in _FIGURES.get(name, ()):
            self.values.pop(figure, None)
        self.tell(f"  without {name}: {error}")

    @property
    def broken(self) -> list[str]:
        """What of ours could not be measured."""
        return [name for name in self.unavailable if name not in PEERS]

    def tell(self, message: str) -> None:
        """Tell people how far it has come."""
        if not self.plan.as_json:
            say(message)

    def spreads(self) -> dict[str, Spread]:
        """Return every figure there is, ratios first."""
        found = {
            name: ratios(self.values[ours], self.values[theirs])
            for name, (ours, theirs) in _RATIOS.items()
            if ours in self.values and theirs in self.values
        }
        return found | {name: spread(values) for name, values in self.values.items()}


def as_json(findings: Findings) -> dict[str, Any]:
    """Return the object that `--json` prints; what was not measured is null."""
    plan = findings.plan
    spreads = {name: one.as_json() for name, one in findings.spreads().items()}
    nested = {
        "visible_ms": _nested(spreads, "visible_ms", STORES),
        "query_ms": _nested(spreads, "query_ms", QUERIES),
    }
    wanted = (*_RATIOS, "projector_rss_mb", "search_hit_at_1")
    guarantees = {name: text for name, text in _GUARANTEES.items() if name in spreads}
    return {
        "users": plan.users,
        "queries_users": plan.queries_users,
        "repeats": plan.repeats,
        "machine": machine(),
        "peers": [peer_debezium.NAME, peer_quix.NAME],
        **dict.fromkeys(wanted),
        **spreads,
        **nested,
        "guarantees": guarantees,
        "unavailable": findings.unavailable,
    }


def _nested(spreads: dict[str, Any], name: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Take the percentiles of each kind out of `spreads`."""
    return {
        kind: {cut: spreads.pop(f"{name} {kind} {cut}", None) for cut in ("p50", "p99")}
        for kind in kinds
    }


def as_rows(findings: Findings) -> Iterator[tuple[str, str, str, str]]:
    """Yield what people read: what was measured, its spread, the goal, what it guarantees."""
    for name, one in findings.spreads().items():
        yield name, str(one), _GOALS.get(name, ""), _GUARANTEES.get(name, "")
    for name, reason in findings.unavailable.items():
        yield name, f"not measured: {reason}", "", ""
