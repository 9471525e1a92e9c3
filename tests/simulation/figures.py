"""Writes what simulated runs showed into files, for the report (docs/reliability.md)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, TypedDict


class Runs(TypedDict):
    """What came of all runs of some seeds; `seeds` are ranges, both ends included."""

    seeds: list[list[int]]
    runs: int
    failed: list[int]
    happened: dict[str, int]
    answers: dict[str, int]


def add_runs(file: Path, more: Runs) -> None:
    """Add runs to those that a file already has; the seeds must be other ones."""
    found: Runs = {"seeds": [], "runs": 0, "failed": [], "happened": {}, "answers": {}}
    if file.exists():
        found = json.loads(file.read_text("utf-8"))
    added: Runs = {
        "seeds": _joined(found["seeds"] + more["seeds"]),
        "runs": found["runs"] + more["runs"],
        "failed": sorted(found["failed"] + more["failed"]),
        "happened": _sum(found["happened"], more["happened"]),
        "answers": _sum(found["answers"], more["answers"]),
    }
    _write(file, {"command": "python -m tests.simulation --seed FIRST --runs N", **added})


def _joined(ranges: list[list[int]]) -> list[list[int]]:
    """Return the ranges in order, neighbours as one."""
    joined: list[list[int]] = []
    for first, last in sorted(ranges):
        if joined and joined[-1][1] + 1 == first:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    return joined


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return dict(sorted((Counter(one) + Counter(other)).items()))


def write_saboteurs(
    file: Path, first: int, most: int, found: dict[str, tuple[int, str] | None]
) -> None:
    """Write by saboteur how many seeds it took and what was found; null for neither."""
    saboteurs = [
        {"name": name, "seeds": one and one[0], "violation": one and one[1]}
        for name, one in found.items()
    ]
    command = f"python -m tests.simulation --saboteurs --seed {first} --runs {most}"
    _write(file, {"command": command, "most_seeds": most, "saboteurs": saboteurs})


def _write(file: Path, found: dict[str, Any]) -> None:
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
