"""`python -m tests.faults.nemesis.table FILE`: sums the runs of a table up, as Markdown."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

Row = dict[str, Any]


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines: totals, then the faults, the answers and the unexpected ends of processes.

    Runs of saboteurs are left out: `caught` has those.
    """
    rows = [row for row in rows if not row["saboteur"]]
    seconds = [row["seconds"] for row in rows]
    unknown = _summed(rows, "unknown")
    totals = {
        "runs": len(rows),
        "seeds": _ranges(row["seed"] for row in rows),
        "runs that found something wrong": sum(bool(row["violations"]) for row in rows),
        "seconds under load": f"{sum(seconds):.0f}, at least {min(seconds, default=0):.0f} a run",
        "commands": _with_least(rows, "commands"),
        "queries": _with_least(rows, "queries"),
        "faults": _total(_summed(rows, "faults")),
        "commands without an answer": _total(unknown),
        "of these decided all the same": f"{unknown['decided']:,}",
    }
    yield from _markdown(("", ""), totals.items())
    for name in ("faults", "answers", "exits"):
        yield ""
        counted = sorted(_summed(rows, name).items())
        yield from _markdown((name, "count"), ((one, f"{count:,}") for one, count in counted))


def caught(rows: Sequence[Row]) -> Iterator[str]:
    """Yield for each saboteur the runs until a check found it."""
    names = sorted({row["saboteur"] for row in rows if row["saboteur"]})
    yield from _markdown(
        ("saboteur", "runs until it was caught"),
        ((name, _until_caught(rows, name)) for name in names),
    )


def _until_caught(rows: Sequence[Row], saboteur: str) -> str:
    runs = [bool(row["violations"]) for row in rows if row["saboteur"] == saboteur]
    return str(runs.index(True) + 1) if True in runs else f"not in {len(runs)}"


def _summed(rows: Sequence[Row], name: str) -> Counter[str]:
    return sum((Counter(row[name]) for row in rows), Counter())


def _total(counted: Counter[str]) -> str:
    return f"{counted.total():,}"


def _with_least(rows: Sequence[Row], name: str) -> str:
    counts = [row[name] for row in rows]
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


def _markdown(head: tuple[str, str], rows: Iterable[tuple[str, object]]) -> Iterator[str]:
    yield f"| {head[0]} | {head[1]} |"
    yield "|---|---|"
    for name, value in rows:
        yield f"| {name} | {value} |"


def read_table(file: Path) -> list[Row]:
    """Return the runs of a table, in the order in which they were made."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    runs = read_table(Path(sys.argv[1]))
    click.echo("\n".join([*summary(runs), "", *caught(runs)]))
