"""`rollbook projector`: run the read models' projectors, see how far they are, begin again."""

import sys
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import click

from projectors.wiring import READ_MODELS
from runtime.context import pass_settings
from runtime.settings import Settings
from runtime.terminal import (
    EXIT_UNAVAILABLE,
    json_option,
    print_error,
    print_json,
    print_table,
    say,
)

_NAME = click.argument("name", type=click.Choice(list(READ_MODELS)))


@click.group()
def projector() -> None:
    """Run and inspect the read models' projectors."""


@projector.command()
@_NAME
@pass_settings
def run(settings: Settings, name: str) -> None:
    """Keep a read model up to date until stopped; several processes share the partitions.

    It begins where the read model's checkpoint is, or at the beginning of the log. While a server
    is away it waits and loses nothing.

    \b
    Example:
      rollbook projector run postgres
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from projectors.runner import Runner
    from runtime.process import StopSignal, start_logging, until_available

    start_logging(settings)
    stopping = StopSignal().install()
    runner = until_available(
        stopping, lambda: Runner(settings, READ_MODELS[name](settings), stopping)
    )
    if runner is not None:
        runner.run()


@projector.command()
@json_option
@pass_settings
def status(settings: Settings, *, as_json: bool) -> int:
    """Show how far each read model is: offsets, and the lag in events.

    Ends with 5 if a read model's server is unavailable; the others are shown. The history reads
    another topic than the users do: offsets compare within a read model.

    \b
    Example:
      rollbook projector status
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from dataclasses import asdict

    from projectors.status import read_status
    from projectors.times import iso_time

    found = read_status(settings)
    rows = [asdict(partition) for partition in found.partitions]
    for row in rows:
        row["applied_at"] = None if row["applied_at"] is None else iso_time(row["applied_at"])
    if as_json:
        for row in rows:
            print_json(row)
    else:
        _print_rows(rows)
    # Two read models may live on one server: that it is away is said once.
    for error in {str(error): error for error in found.unavailable.values()}.values():
        print_error(error, as_json=as_json)
    return EXIT_UNAVAILABLE if found.unavailable else 0


def _print_rows(rows: Iterable[dict[str, Any]]) -> None:
    columns = ["read model", "partition", "state", "position", "end", "lag", "last applied"]
    print_table(columns, (row.values() for row in rows))


@projector.command()
@_NAME
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_settings
def reset(settings: Settings, name: str, *, yes: bool) -> None:
    """Empty a read model and have it replayed from the beginning of the log.

    Nothing is lost: the log has it all. Queries find less until the replay has caught up. A
    projector that runs sees within seconds that its checkpoint is gone and begins again at the
    beginning; otherwise the next `projector run` does.

    \b
    Example:
      rollbook projector reset postgres --yes
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("this empties the read model: confirm with --yes")
        click.confirm(f"Empty the read model {name} and replay it?", abort=True, err=True)
    with closing(READ_MODELS[name](settings)) as model:
        model.reset()
        model.prepare()
    say(f"{name} is empty; its projector replays it from the beginning (`rollbook projector run`)")
