"""`python -m tests.faults.soak`: soak a registry, write the report, end with 1 if it is red."""

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import mkdtemp

import click

from tests.faults.soak.leak import KINDS
from tests.faults.soak.report import markdown, write
from tests.faults.soak.run import is_red, soak
from tests.faults.stack import named_or_own_stack

_OWN = Path("build/soak")
# Heaps that have their greatest size from the start: otherwise, what a JVM needs for a moment, such
# as after it was frozen, looks like growth. This variable overrides the options of a command; a
# stack that was started before (`--stack`) keeps its own.
_JAVA_OPTIONS = "-Xms512m -Xmx512m -XX:+AlwaysPreTouch"


def main() -> int:
    """Return the exit code: 1 if a series is not flat or a check found something wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--stack", help="a stack that is running; by default, one is started")
    parser.add_argument("--leak", choices=KINDS, help="let handlers and projectors leak this")
    parser.add_argument(
        "--publish", action="store_true", help="write docs/figures and docs/images as well"
    )
    parser.add_argument("--table", type=Path, help="print the table of this report")
    options = parser.parse_args()
    if options.table:
        click.echo(markdown(json.loads(options.table.read_text("utf-8"))))
        return 0
    directory = Path(mkdtemp(prefix="soak-"))
    os.environ["_JAVA_OPTIONS"] = _JAVA_OPTIONS
    with named_or_own_stack(options.stack, "soak") as stack:
        report = soak(options.minutes, stack, directory, options.leak)
    write(report, _OWN, _OWN)
    if options.publish:
        write(report, Path("docs/figures"), Path("docs/images"))
    click.echo(markdown(report))
    for violation in report["violations"]:
        click.echo(violation)
    grown = [
        f"{one['measure']} of {one['process']}" for one in report["series"] if not one["is_flat"]
    ]
    click.echo(f"not flat: {', '.join(grown)}" if grown else "every series is flat")
    click.echo(f"logs: {directory}")
    return 1 if is_red(report) else 0


if __name__ == "__main__":
    sys.exit(main())
