"""What every benchmark reports: the spread of repeats, ratios within a repeat, goals, machine."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median, quantiles
from typing import Any, Final

from runtime.command_line.terminal import say
from schemas.errors import RollbookError

# Goals, shown beside the figures; a missed goal never fails a run.
GOALS: Final = {
    "vs_passthrough": "≥ 0.3, then 0.5",
    "two_process_speedup": "≥ 1.7",
    "vs_eventsourcing": "≥ 50",
    "single_command_ms p50": "≤ 4",
    "single_command_ms p99": "≤ 15",
    "bytes_per_user": "≤ 400",
    "restore_users_per_second": "≥ 250,000",
    "restore_old_users_per_second": "≥ 250,000",
    "postgres_live_vs_debezium": "≥ 2",
    "postgres_two_processes_vs_debezium": "≥ 2",
    "postgres_live_vs_quix": "≥ 2.5",
    "postgres_rebuild_vs_quix": "≥ 4",
    "elasticsearch_vs_quix": "≥ 3",
    "elasticsearch_vs_bulk_limit": "≥ 0.75",
    "rebuild_after_updates_ratio": "≤ 1.3",
    **{f"get_vs_noop {clients}": "≥ 0.6" for clients in (1, 8, 64, 256)},
    "create_vs_noop 64": "≥ 0.6, or the broker is the bottleneck",
    "get_vs_peer 64": "≥ 5",
    "create_vs_peer 64": "≥ 5",
    "streamed_vs_imported": "≥ 0.5",
    "projector_rss_mb_after_queries_users": "as after fewer users",
    "elasticsearch_projector_rss_mb_after_queries_users": "as after fewer users",
    **{
        f"query_ms {query} {cut}": goal
        for query in ("get", "list", "summary", "search", "suggest")
        for cut, goal in (("p50", "≤ 10"), ("p99", "≤ 40"))
    },
}
_GIB: Final = 1 << 30
_LOOK_SECONDS: Final = 0.1
_LOOKS: Final = 5
_LOOPS: Final = 300_000
_LOOP_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some repeats with the least and the greatest."""

    median: float
    least: float
    greatest: float
    repeats: int

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`, rounded to a readable precision."""
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 2  # noqa: PLR2004 - three figures are enough
        return (
            f"{self.median:,.{digits}f}  ({self.least:,.{digits}f} to {self.greatest:,.{digits}f},"
            f" {self.repeats} repeats)"
        )


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    return Spread(float(median(values)), float(min(values)), float(max(values)), len(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of ours over theirs, pairwise: repeats are interleaved in time."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile of at least 100 values."""
    cuts = quantiles(values, n=100)
    return cuts[49], cuts[98]


@dataclass(slots=True)
class Findings:
    """The figures of one run, a value per repeat; and why a peer or part has none."""

    as_json: bool
    values: dict[str, list[float]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Add the value of one repeat."""
        self.values.setdefault(name, []).append(value)
        self.report(f"  {name}: {value:,.2f}")

    def add_percentiles(self, name: str, values: Sequence[float]) -> None:
        """Add the median and the 99th percentile of one repeat."""
        p50, p99 = percentiles(values)
        self.add(f"{name} p50", p50)
        self.add(f"{name} p99", p99)

    def leave_out(self, name: str, error: RollbookError, figures: Sequence[str]) -> None:
        """Record why `name` is not measured and drop its `figures` from earlier repeats."""
        self.unavailable[name] = " ".join(filter(None, (str(error), error.next_step)))
        for figure in figures:
            self.values.pop(figure, None)
        self.report(f"  without {name}: {error}")

    def report(self, message: str) -> None:
        """Report progress, unless the output is JSON."""
        if not self.as_json:
            say(message)

    def spreads(self, ratios_of: Mapping[str, tuple[str, str]]) -> dict[str, Spread]:
        """Return the spread of each ratio whose figures were measured, then of each figure."""
        found = {
            name: ratios(self.values[ours], self.values[theirs])
            for name, (ours, theirs) in ratios_of.items()
            if ours in self.values and theirs in self.values
        }
        return found | {name: spread(values) for name, values in self.values.items()}


def busy_share() -> float:
    """Return which share of all processors is in use: the median of some short looks.

    A load average would still be high because of the benchmark before this one.
    """
    import psutil  # in the extra `local`

    looks = [psutil.cpu_percent(interval=_LOOK_SECONDS) for _ in range(_LOOKS)]
    return round(median(looks) / 100, 2)


def machine() -> dict[str, Any]:
    """Return what the figures are measured on; call it before the benchmark puts load on it."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(memory / _GIB, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "busy_before": busy_share(),
        "loops_per_second": round(_loops_per_second()),
    }


def _loops_per_second() -> float:
    """Return how often one core runs the body of a fixed loop in Python: the machine's own speed.

    The best of some tries, so that a moment's other work does not count.
    """
    return max(_LOOPS / _loop_seconds() for _ in range(_LOOP_TRIES))


def _loop_seconds() -> float:
    began, value = time.perf_counter(), 0
    for number in range(_LOOPS):
        value = (value * 31 + number) % 1_000_003
    return time.perf_counter() - began
