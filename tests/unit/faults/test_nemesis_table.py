"""The table of runs is summed up for the page about reliability."""

from typing import Any

from tests.faults.nemesis.table import caught, summary


def run_of(seed: int, *, saboteur: str | None = None, **changed: Any) -> dict[str, Any]:
    return {
        "seed": seed,
        "faults": {"kafka killed": 2},
        "commands": 600 + seed,
        "answers": {"accepted": 500},
        "unknown": {"decided": 3, "never arrived": 1},
        "queries": 90,
        "exits": {},
        "seconds": 30.4,
        "violations": [],
        "saboteur": saboteur,
    } | changed


def test_counts_of_all_runs_are_summed_up() -> None:
    lines = summary([run_of(1), run_of(2, violations=["two holders"]), run_of(4)]).splitlines()
    assert "| seeds | 1-2, 4 |" in lines
    assert "| runs that found something wrong | 1 |" in lines
    assert "| commands | 1,807, at least 601 a run |" in lines
    assert "| commands without an answer | 12 |" in lines
    assert "| of these decided all the same | 9 |" in lines
    assert "| kafka killed | 6 |" in lines


def test_runs_of_saboteurs_are_counted_until_one_is_caught() -> None:
    name = "offsets outside the transaction"
    rows = [run_of(1, saboteur=name), run_of(2, saboteur=name, violations=["twice"])]
    assert f"| {name} | 2 |" in caught(rows)
    assert f"| {name} | not in 1 |" in caught(rows[:1])
    assert "| runs | 0 |" in summary(rows)
