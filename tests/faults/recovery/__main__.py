"""`python -m tests.faults.recovery`: measure every case a few times, or print the table."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import click

from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from scripts.bench.report.measure import machine
from scripts.stack.native.local import LocalStack
from tests.conftest import own_registry
from tests.faults.executed import ExecutedRollbook
from tests.faults.nemesis.clients import Clients
from tests.faults.nemesis.system import System
from tests.faults.recovery.cases import CASES, Registry
from tests.faults.recovery.observer import Observer
from tests.faults.recovery.table import markdown
from tests.faults.stack import named_or_own_stack

# Of each client of the load: `Clients` says what it asks in it.
_PERIOD_SECONDS: Final = 3.0


def main() -> int:
    """Return the exit code, 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.recovery", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--stack", help="a stack that is running; by default, one is started")
    parser.add_argument("--out", type=Path, default=Path("build/recovery.json"))
    parser.add_argument("--only", default="", help="only cases with this in their name")
    parser.add_argument("--table", type=Path, help="print the table of this file")
    options = parser.parse_args()
    if options.table:
        click.echo(markdown(json.loads(options.table.read_text("utf-8"))))
        return 0
    with named_or_own_stack(options.stack, "recovery") as stack:
        found = measure(stack, options.repetitions, options.out, options.only)
    click.echo(markdown(found))
    return 0


def measure(stack: LocalStack, repetitions: int, out: Path, only: str = "") -> dict[str, Any]:
    """Measure the cases in turn; return what the file has, which is written after each."""
    defaults = Settings()
    found: dict[str, Any] = {
        "machine": machine(),
        "session_timeout_seconds": defaults.session_timeout_seconds,
        "transaction_timeout_seconds": defaults.transaction_timeout_seconds,
        "load_averages": [],
        "cases": {
            case: {"until": until, "seconds": [], "server_seconds": []}
            for case, (until, _) in CASES.items()
            if only in case
        },
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with _registry(stack) as registry:
        for turn in range(1, repetitions + 1):
            for case, one in found["cases"].items():
                registry.wait_until_well()
                times = CASES[case][1](registry)
                one["seconds"].append(round(times.seconds, 2))
                if times.server_seconds is not None:
                    one["server_seconds"].append(round(times.server_seconds, 2))
                found["load_averages"].append(round(os.getloadavg()[0], 1))
                out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                click.echo(f"{turn}: {case}: {times.seconds:.1f} s")
    return found


@contextmanager
def _registry(stack: LocalStack) -> Iterator[Registry]:
    """Yield a registry with default settings under a constant load."""
    directory = Path(mkdtemp(prefix="recovery-"))
    with own_registry(stack, directory) as settings, ExitStack() as opened:
        ensure_topics(settings)
        rollbook = ExecutedRollbook(settings, stack.config_file, directory)
        system = opened.enter_context(System(rollbook, stack, by_default=True))
        clients = Clients(system, 0, _PERIOD_SECONDS)
        opened.callback(clients.stop)
        system.wait_until_well()
        clients.resume()
        yield Registry(system, opened.enter_context(Observer(settings)))


if __name__ == "__main__":
    sys.exit(main())
