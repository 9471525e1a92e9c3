"""`rollbook projector`: run the projectors of the read models and inspect their progress."""

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from projectors.catalog import open_versions, read_models
from projectors.cli.pause import pause, resume
from projectors.cli.versions import (
    compare,
    complete_name,
    drop,
    name_argument,
    rebuild,
    rollback,
    swap,
    versions,
)
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import (
    EXIT_UNAVAILABLE,
    json_option,
    print_error,
    print_fields,
    print_json,
    print_table,
)
from runtime.settings import Settings

if TYPE_CHECKING:
    from projectors.versions.status import VersionStatus


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
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_name)
@json_option
@pass_settings
def prepare(settings: Settings, *, names: tuple[str, ...], as_json: bool) -> None:
    """Create or update the tables and indexes of read models, of all by default.

    For projectors whose logins may write rows but not create tables: run it with the operator's
    login before they start, and again before an upgrade. Other projectors do it themselves when
    they start. It can be repeated at any time.

    \b
    Examples:
      rollbook projector prepare
      rollbook projector prepare postgres
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    for name in names or read_models(settings):
        with closing(open_versions(settings, name)) as versions:
            versions.begin()
            live = next((one.number for one in versions.versions() if one.live), None)
        (print_json if as_json else print_fields)({"read_model": name, "live_version": live})


@projector.command()
@click.option("--partitions", "by_partition", is_flag=True, help="A line for each partition.")
@json_option
@pass_settings
def status(settings: Settings, *, by_partition: bool, as_json: bool) -> int:
    """Show how many events each version of each read model is behind the log.

    `paused` means that somebody has paused the version with `rollbook projector pause`. Exits with
    5 if the server of a read model is unavailable, but shows the others.

    With `--partitions`: with a lag of 0, the position may still be below the end: the end counts
    transaction markers as well as events. Read models read different topics, so compare offsets
    only within one read model.

    \b
    Examples:
      rollbook projector status
      rollbook projector status --partitions
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from projectors.versions.status import read_status

    found = read_status(settings)
    versions = found.by_version()
    if as_json:
        for row in found.as_rows() if by_partition else (one.as_json() for one in versions):
            print_json(row)
    elif by_partition:
        print_positions(found.as_rows())
    else:
        print_versions(versions)
    # Several read models may be on one server: its error is printed once.
    for error in {str(error): error for error in found.unavailable.values()}.values():
        print_error(error, as_json=as_json)
    return EXIT_UNAVAILABLE if found.unavailable else 0


def print_versions(versions: "Iterable[VersionStatus]") -> None:
    """Print a line for each version, as `projector status` does."""
    columns = ["read model", "version", "live", "state", "lag", "last applied"]
    print_table(
        columns,
        (
            (one.read_model, one.version, "yes" if one.live else "", one.state, one.lag, applied)
            for one in versions
            for applied in [one.as_json()["applied_at"]]
        ),
    )


def print_positions(rows: Iterable[dict[str, Any]]) -> None:
    """Print a line for each partition, as `projector status --partitions` does."""
    columns = ["read model", "version", "live", "partition", "state", "position", "end", "lag"]
    columns.append("last applied")
    print_table(columns, ({**row, "live": "yes" if row["live"] else ""}.values() for row in rows))


for command in (rebuild, versions, compare, swap, rollback, pause, resume, drop):
    projector.add_command(command)
