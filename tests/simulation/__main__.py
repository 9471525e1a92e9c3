"""`python -m tests.simulation`: run many seeds, or every saboteur until it is found."""

import argparse
import gc
import sys
import time
from collections import Counter
from pathlib import Path

from tests.simulation.figures import Runs, add_runs, write_saboteurs
from tests.simulation.plan import Plan, plan_of
from tests.simulation.run import run
from tests.simulation.saboteurs import SABOTEURS, found_after
from tests.simulation.shrink import shrunk

_MOST_SHOWN = 5


def main() -> int:
    """Return the exit code: 1 if a run broke a promise, or if a saboteur was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000, help="how many seeds to run")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--saboteurs", action="store_true", help="run the saboteurs instead")
    parser.add_argument("--figures", type=Path, help="write the results to this file, as JSON")
    options = parser.parse_args()
    gc.freeze()  # what is imported stays
    if options.saboteurs:
        return _run_saboteurs(options.seed, options.runs, options.figures)
    return _run_seeds(options.seed, options.runs, options.figures)


def _run_seeds(first: int, runs: int, figures: Path | None) -> int:
    happened: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    failed: list[int] = []
    began = time.monotonic()
    for seed in range(first, first + runs):
        result = run(plan_of(seed))
        happened += result.happened
        answers += result.answers
        if result.violations:
            failed.append(seed)
            if len(failed) <= _MOST_SHOWN:
                _report(seed)
    minutes = (time.monotonic() - began) / 60
    _say(f"{runs} runs from seed {first} in {minutes:.1f} min, {runs / minutes:.0f} a minute")
    for title, counts in (("What happened", happened), ("How commands ended", answers)):
        _say(f"\n{title}:")
        for name, times in sorted(counts.items()):
            _say(f"{times:10} {name}")
    _say(f"\n{len(failed)} runs broke a promise{': seeds ' if failed else ''}{failed or ''}")
    if figures:
        seeds = [[first, first + runs - 1]]
        all_runs = Runs(seeds=seeds, runs=runs, failed=failed, happened=happened, answers=answers)
        add_runs(figures, all_runs)
    return 1 if failed else 0


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def _report(seed: int) -> None:
    """Print what is wrong, and the shortest plan that still fails."""

    def fails(plan: Plan) -> bool:
        return bool(run(plan).violations)

    plan = shrunk(plan_of(seed), fails)
    _say(f"seed {seed} broke a promise: {run(plan_of(seed)).violations[0]}")
    _say(f"  shrunk to {len(plan.actions)} actions: {run(plan).violations[0]}")
    _say(f"  {plan.options}")
    for action in plan.actions:
        _say(" ", action.name, *action.arguments)
    _say()


def _run_saboteurs(first: int, most: int, figures: Path | None) -> int:
    found: dict[str, tuple[int, str] | None] = {}
    for name, sabotage in SABOTEURS.items():
        found[name] = one = found_after(sabotage, most, first)
        _say(f"{name}: {f'{one[0]} seeds' if one else f'never found in {most} seeds'}")
    if figures:
        write_saboteurs(figures, first, most, found)
    return 1 if None in found.values() else 0


if __name__ == "__main__":
    sys.exit(main())
