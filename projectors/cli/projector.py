"""`rollbook projector`: run the projectors of the read models and inspect their progress."""

from collections.abc import Iterable
from typing import Any

import click

from projectors.catalog import open_versions
from projectors.cli.versions import compare, drop, name_argument, rebuild, rollback, swap, versions
from runtime.context import pass_settings
from runtime.settings import Settings
from runtime.terminal import EXIT_UNAVAILABLE, json_option, print_error, print_json, print_table


@click.group()
def projector() -> None:
    """Run and inspect the projectors of the read models; build and swap versions."""


@projector.command()
@name_argument
@pass_settings
def run(settings: Settings, name: str) -> None:
    """Keep every ready version of a read model up to date, until stopped.

    Several processes share the partitions. Reading starts at the read model's checkpoint, or at the
    beginning of the log if it has none. While a server is unavailable, the projector waits and
    loses nothing.

    \b
    Example:
      rollbook projector run postgres
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from projectors.versions.host import Host
    from runtime.logs import start_logging
    from runtime.metrics.serving import serving_metrics
    from runtime.metrics.table import PROJECTOR
    from runtime.process import StopSignal
    from runtime.tracing import exporting

    start_logging(settings, "projector", read_model=name)
    stopping = StopSignal().install()
    with (
        exporting(settings, f"rollbook-projector-{name}"),
        serving_metrics(settings, PROJECTOR),
    ):
        Host(settings, open_versions(settings, name), stopping).run()


@projector.command()
@json_option
@pass_settings
def status(settings: Settings, *, as_json: bool) -> int:
    """Show the position of each version of each read model: offsets, and the lag in events.

    With a lag of 0, the position may still be below the end: the end counts transaction markers
    as well as events. Read models read different topics, so compare offsets only within one read
    model. Exits with 5 if the server of a read model is unavailable, but shows the others.

    \b
    Example:
      rollbook projector status
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from projectors.versions.status import read_status

    found = read_status(settings)
    if as_json:
        for row in found.as_rows():
            print_json(row)
    else:
        print_positions(found.as_rows())
    # Several read models may be on one server: its error is printed once.
    for error in {str(error): error for error in found.unavailable.values()}.values():
        print_error(error, as_json=as_json)
    return EXIT_UNAVAILABLE if found.unavailable else 0


def print_positions(rows: Iterable[dict[str, Any]]) -> None:
    """Print the rows of `projector status` as a table."""
    columns = ["read model", "version", "live", "partition", "state", "position", "end", "lag"]
    columns.append("last applied")
    print_table(columns, ({**row, "live": "yes" if row["live"] else ""}.values() for row in rows))


for command in (rebuild, versions, compare, swap, rollback, drop):
    projector.add_command(command)
