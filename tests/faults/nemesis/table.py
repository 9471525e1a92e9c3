"""`python -m tests.faults.nemesis.table FILE`: sums the runs of a table up, as Markdown."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from scripts.bench.report.cells import table

Row = dict[str, Any]
_CONSEQUENCES: Final = ("partition of a topic compacted", "stale document or checkpoint refused")


def summary(rows: Sequence[Row]) -> str:
    """Return totals, and then the faults, the answers and the unexpected ends of processes.

    Runs of saboteurs are left out: `caught` has those.
    """
    rows = [row for row in rows if not row["saboteur"]]
    seconds = [row["seconds"] for row in rows]
    unknown = _summed(rows, "unknown")
    totals = {
        "runs": len(rows),
        "of these with at least three faults and 500 commands": sum(
            _faults(row) >= 3 and row["commands"] >= 500 for row in rows
        ),
        "seeds": _ranges(row["seed"] for row in rows),
        "runs that found something wrong": sum(bool(row["violations"]) for row in rows),
        "seconds under load": f"{sum(seconds):.0f}, at least {min(seconds, default=0):.0f} a run",
        "commands": _with_least(row["commands"] for row in rows),
        "queries": _with_least(row["queries"] for row in rows),
        "faults, without compactions": _with_least(map(_faults, rows)),
        "commands without an answer": _total(unknown),
        "of these decided all the same": f"{unknown['decided']:,}",
    }
    tables = [table(("", ""), [*totals.items()])]
    for name in ("faults", "answers", "exits"):
        counted = sorted(_summed(rows, name).items())
        tables.append(table((name, "count"), [(one, f"{count:,}") for one, count in counted]))
    return "\n\n".join(tables)


def caught(rows: Sequence[Row]) -> str:
    """Return for each saboteur the runs until a check found it."""
    names = sorted({row["saboteur"] for row in rows if row["saboteur"]})
    return table(
        ("saboteur", "runs until it was caught"),
        [(name, _until_caught(rows, name)) for name in names],
    )


def _until_caught(rows: Sequence[Row], saboteur: str) -> str:
    runs = [bool(row["violations"]) for row in rows if row["saboteur"] == saboteur]
    return str(runs.index(True) + 1) if True in runs else f"not in {len(runs)}"


def _summed(rows: Sequence[Row], name: str) -> Counter[str]:
    return sum((Counter(row[name]) for row in rows), Counter())


def _total(counted: Counter[str]) -> str:
    return f"{counted.total():,}"


def _faults(row: Row) -> int:
    """Return how many faults were injected; other entries say what they led to."""
    return sum(count for name, count in row["faults"].items() if not name.startswith(_CONSEQUENCES))


def _with_least(numbers: Iterable[int]) -> str:
    counts = [*numbers]
    return f"{sum(counts):,}, at least {min(counts, default=0):,} a run"


def _ranges(numbers: Iterable[int]) -> str:
    """Return numbers as ranges: 1-3, 7."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return ", ".join("-".join(map(str, one)) for one in ranges)


def read_table(file: Path) -> list[Row]:
    """Return the runs of a table, in the order in which they were made."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    runs = read_table(Path(sys.argv[1]))
    click.echo(f"{summary(runs)}\n\n{caught(runs)}")
