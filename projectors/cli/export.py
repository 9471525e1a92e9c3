"""`rollbook users export`: every user as a line of JSON, to a file or a pipe."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from projectors.cli.export_file import write_export
from projectors.cli.options import age_options
from projectors.command_line.after_option import wait_for_token
from projectors.postgres.users.export import UserExport
from runtime.command_line.context import pass_settings
from runtime.command_line.progress import progress_reporter
from runtime.command_line.terminal import json_option, print_fields, print_json, say
from runtime.process import signals_as_interrupts
from runtime.settings import Settings


@click.command("export")
@click.argument(
    "file",
    metavar="[FILE|-]",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
)
@age_options
@click.option(
    "--gzip",
    "as_gzip",
    is_flag=True,
    help="Compress with gzip; implied by a name that ends in .gz.",
)
@json_option
@pass_settings
@wait_for_token("postgres")
def export_users(
    settings: Settings, *, file: str, min_age: int, max_age: int, as_gzip: bool, as_json: bool
) -> None:
    """Write every user as a line of JSON, oldest user first. The output is personal data.

    All users are from one consistent snapshot of the PostgreSQL read model (`rollbook projector
    status` shows its position), without those who are deleted or erased before they are written.
    FILE is written completely or not at all, readable only by you.
    `users import` reads its lines.

    With FILE, --json prints the totals as one object. Without FILE, only the users are printed.

    \b
    Examples:
      rollbook users export people.ndjson.gz
      rollbook users export --min-age 65 | jq .email
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if min_age > max_age:
        raise click.UsageError("--min-age is more than --max-age")
    if file != "-" and not Path(file).resolve().parent.is_dir():
        raise click.UsageError(f"the folder of {file} does not exist")
    as_gzip = as_gzip or file.lower().endswith(".gz")
    if as_gzip and file == "-" and sys.stdout.isatty():
        raise click.UsageError("gzip output is not for a terminal: name a file, or pipe it")
    begun_at = time.monotonic()
    export = UserExport(settings, min_age=min_age, max_age=max_age)
    with closing(export), signals_as_interrupts():
        _write(export, file, as_gzip=as_gzip, as_json=as_json)
    seconds = time.monotonic() - begun_at
    if file == "-":
        if not as_json:
            say(f"exported {export.exported:,} users")
        return
    totals: dict[str, Any] = {
        "users": export.exported,
        "file": file,
        "bytes": Path(file).stat().st_size,
        "seconds": round(seconds, 2),
        "users_per_second": round(export.exported / seconds) if seconds else 0,
    }
    (print_json if as_json else print_fields)(totals)


def _write(export: UserExport, file: str, *, as_gzip: bool, as_json: bool) -> None:
    def describe(seconds: float) -> str:
        rate = export.exported / seconds if seconds else 0
        return f"{export.exported:,} users exported, {rate:,.0f} users/s"

    # Lines and a progress bar on one terminal would overwrite each other.
    quiet = as_json or (file == "-" and sys.stdout.isatty())
    with (
        progress_reporter(
            describe,
            lambda: export.exported,
            export.total(),
            as_json=quiet,
            only_on_terminal=True,
        ) as show_progress,
        closing(export.lines()) as chunks,
    ):
        write_export(file, _shown(chunks, show_progress), as_gzip=as_gzip)


def _shown(chunks: Iterable[bytes], show_progress: Callable[[], object] | None) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        if show_progress:
            show_progress()
