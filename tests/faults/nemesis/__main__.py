"""`python -m tests.faults.nemesis`: run seeds on a stack, one line of the table for each."""

import argparse
import json
import pickle
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import click

from scripts.stack.native.local import LocalStack
from tests.faults.nemesis.plan import TARGETS, Plan, plan_of
from tests.faults.nemesis.run import run
from tests.faults.nemesis.saboteurs import SABOTEURS
from tests.faults.stack import named_or_own_stack


def main() -> int:
    """Return the exit code: 1 if a run found something wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.nemesis", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds to run")
    parser.add_argument("--stack", help="a stack to use and leave running")
    parser.add_argument("--table", type=Path, help="file to which a line for each run is added")
    parser.add_argument(
        "--only-processes", action="store_true", help="break no server: others use the stack"
    )
    parser.add_argument("--faults", help="the only faults to choose from, with commas between")
    parser.add_argument("--saboteur", choices=sorted(SABOTEURS), help="what the handlers do wrong")
    options = parser.parse_args()
    faults = options.faults.split(",") if options.faults else ()
    if unknown := set(faults) - set(TARGETS):
        parser.error(f"unknown faults {sorted(unknown)}; there are {', '.join(sorted(TARGETS))}")
    failed = 0
    with named_or_own_stack(options.stack, "nemesis") as stack:
        for seed in range(options.seed, options.seed + options.seeds):
            plan = plan_of(seed, only_processes=options.only_processes, only=faults)
            failed += not _run(plan, stack, options.table, options.saboteur)
    click.echo(f"{options.seeds} runs, {failed} of them found something wrong")
    return 1 if failed else 0


def _run(plan: Plan, stack: LocalStack, table: Path | None, saboteur: str | None) -> bool:
    """Run a plan, and print its line; return whether nothing is wrong."""
    planned = "; ".join(f"{step.fault} ({step.target})" for steps in plan.rounds for step in steps)
    click.echo(f"seed {plan.seed}: {planned}")
    directory = Path(mkdtemp(prefix=f"nemesis-{plan.seed}-"))
    result, history = run(plan, stack, directory, saboteur)
    row = json.dumps(result.row() | {"commit": _commit(), "saboteur": saboteur})
    click.echo(row)
    if table is not None:
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("a", encoding="utf-8") as opened:
            opened.write(f"{row}\n")
    if result.violations:
        (directory / "history.pickle").write_bytes(pickle.dumps(history))
        click.echo(f"seed {plan.seed} found something wrong; its logs and history: {directory}")
    return not result.violations


def _commit() -> str:
    """Return the commit of this tree, marked if files have changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
