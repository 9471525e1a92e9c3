"""Prints how long each fault of a broker stalls commands, as docs/figures/brokers.json has it."""

import json
import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

from runtime.kafka.registry import Registry
from runtime.topics.admin import ensure_topics
from scripts.stack.native.local import LocalStack
from tests.conftest import own_registry, rollbook_on
from tests.faults.brokers.cluster import Cluster
from tests.faults.brokers.run import FAULTS, run


def main() -> int:
    """Measure on a stack that is up and has three brokers; return 1 if anything was lost."""
    parser = ArgumentParser(prog="python -m tests.faults.brokers", description=__doc__)
    parser.add_argument("--stack", required=True)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", choices=FAULTS, action="append")
    arguments = parser.parse_args()
    stack, found = LocalStack(arguments.stack), []
    for fault in arguments.only or FAULTS:
        with (
            TemporaryDirectory() as folder,
            own_registry(stack, Path(folder)) as settings,
        ):
            Registry(settings).ensure()
            ensure_topics(settings)
            rollbook = rollbook_on(stack, settings, Path(folder))
            try:
                result = run(fault, rollbook, stack, arguments.repetitions)
            finally:
                rollbook.stop_all()
                Cluster(stack, settings).heal()
        found.append(result)
        sys.stderr.write(f"{result.row()} {result.flaws} {result.stalls_seconds}\n")
    rows = [one.row() for one in found]
    print(json.dumps({"processors": os.cpu_count(), "faults": rows}, indent=1))  # noqa: T201
    return int(any(one.flaws or one.lost for one in found))


if __name__ == "__main__":
    sys.exit(main())
