"""`rollbook projector rebuild | versions | swap | rollback | drop`: a read model's versions."""

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from projectors.catalog import OURS, open_versions
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    json_option,
    print_error,
    print_fields,
    print_json,
    print_table,
    say,
)
from runtime.settings import Settings
from schemas.errors import RollbookError

if TYPE_CHECKING:
    from projectors.contract.read_model import ReadModelVersions
    from runtime.process import StopSignal


def complete_name(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Return the built-in read models that begin with `typed`; pressing tab loads no others."""
    return [name for name in OURS if name.startswith(typed)]


name_argument = click.argument("name", shell_complete=complete_name)
_processes_option = click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(1, 64),
    help="Processes that share the work, each with memory of its own. Default: as many as there "
    "are processors, but at most 4, and at most one for each 100,000 records of the log.",
)
_version_argument = click.argument("number", metavar="VERSION", type=click.IntRange(1))


@click.command()
@name_argument
@_processes_option
@json_option
@pass_settings
def rebuild(settings: Settings, name: str, processes: int | None, *, as_json: bool) -> int:
    """Build a new version of a read model from the log, while queries use the live one.

    The new version is compared with the log, user by user, before it becomes ready. From then on
    `rollbook projector run` keeps it up to date, and `rollbook projector swap` makes it live. If
    the rebuild is killed, the live version is unchanged, and the next rebuild starts again.

    \b
    Examples:
      rollbook projector rebuild postgres
      rollbook projector rebuild postgres --processes 8
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from runtime.process import StopSignal

    with closing(open_versions(settings, name)) as found:
        stopping = StopSignal().install()
        fields = _rebuild(settings, found, stopping, processes, as_json=as_json)
    if fields is None:
        error = RollbookError(
            "interrupted; the live version is unchanged",
            code="interrupted",
            next_step="run it again: it starts from the beginning",
        )
        print_error(error, as_json=as_json)
        return EXIT_INTERRUPTED
    (print_json if as_json else print_fields)(fields)
    if not as_json:
        step = f"rollbook projector swap {name} {fields['version']}"
        say(f"it matches the log; `{step}` makes it live")
    return 0


def _rebuild(
    settings: Settings,
    versions: "ReadModelVersions",
    stopping: "StopSignal",
    processes: int | None,
    *,
    as_json: bool,
) -> dict[str, Any] | None:
    """Return the fields printed after a rebuild; None if it was interrupted."""
    from projectors.versions.rebuild import Rebuild
    from runtime.command_line.progress import progress_reporter

    started = time.monotonic()
    running = Rebuild(settings, versions, stopping, processes)
    with progress_reporter(
        lambda seconds: running.progress.describe(seconds, time.monotonic()),
        lambda: round(100 * running.progress.fraction),
        100,
        as_json=as_json,
    ) as show:
        running.on_progress = show or running.on_progress
        rebuilt = running.run()
    if rebuilt is None:
        return None
    return rebuilt.as_json(versions.name, time.monotonic() - started)


@click.command()
@name_argument
@_version_argument
@json_option
@pass_settings
def compare(settings: Settings, name: str, number: int, *, as_json: bool) -> int:
    """Compare a version of a read model with the log, user by user. Changes nothing.

    Projectors may be running: users that change meanwhile are left out, and so are those with a
    dead letter. Exits with 1 if any other user differs.

    \b
    Example:
      rollbook projector compare postgres 2
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from projectors.versions.compare import compare_version
    from runtime.command_line.progress import progress_reporter

    read = 0

    def on_progress(partition: int) -> None:
        nonlocal read
        read = partition
        if show is not None:
            show()

    with (
        closing(open_versions(settings, name)) as found,
        progress_reporter(
            lambda _seconds: f"read {read} of {settings.partitions} partitions",
            lambda: read,
            settings.partitions,
            as_json=as_json,
        ) as show,
    ):
        result = compare_version(settings, found, number, on_progress)
    fields = result.as_json(name, number)
    fields["examples"] = fields["examples"] if as_json else ", ".join(fields["examples"])
    (print_json if as_json else print_fields)(fields)
    return 0 if result.same else EXIT_FAILED


@click.command()
@name_argument
@json_option
@pass_settings
def versions(settings: Settings, name: str, *, as_json: bool) -> None:
    """List the versions of a read model. Queries use the one that is live.

    \b
    Example:
      rollbook projector versions postgres
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from projectors.versions.status import version_fields

    with closing(open_versions(settings, name)) as found:
        rows = [version_fields(version) for version in found.versions()]
    if as_json:
        for row in rows:
            print_json({"read_model": name, **row})
        return
    columns = ["version", "state", "live", "created", "live since", "paused since"]
    print_table(columns, ({**row, "live": "yes" if row["live"] else ""}.values() for row in rows))


@click.command()
@name_argument
@_version_argument
@pass_settings
def swap(settings: Settings, name: str, number: int) -> None:
    """Make a version live: all queries switch to it at the same moment.

    Waits until the version has applied everything that is on the log, so that no query shows an
    older state than before. The previous version is kept up to date until it is dropped.

    \b
    Example:
      rollbook projector swap postgres 2
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    _swap(settings, name, number)


@click.command()
@name_argument
@pass_settings
def rollback(settings: Settings, name: str) -> None:
    """Make the previously live version live again.

    \b
    Example:
      rollbook projector rollback postgres
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    _swap(settings, name, None)


def _swap(settings: Settings, name: str, number: int | None) -> None:
    from projectors.versions.swap import swap as make_live
    from projectors.versions.swap import version_before

    with closing(open_versions(settings, name)) as found:
        number = version_before(found) if number is None else number
        make_live(settings, found, number)
    say(f"version {number} of {name} is live")


@click.command()
@name_argument
@_version_argument
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_settings
def drop(settings: Settings, name: str, number: int, *, yes: bool) -> None:
    """Remove a version that is not live, its data and its consumer group.

    You can no longer roll back to it. Waits up to about ten seconds for its projectors to leave the
    group.

    \b
    Example:
      rollbook projector drop postgres 1 --yes
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("this removes the version's data: confirm with --yes")
        click.confirm(f"Remove version {number} of {name}?", abort=True, err=True)
    from projectors.versions.groups import drop_version

    with closing(open_versions(settings, name)) as found:
        drop_version(settings, found, number, say)
