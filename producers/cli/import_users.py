"""`rollbook users import`: shows progress, lists rejected lines and prints the totals."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from producers.cli.sending import await_visible, issued_by_option, visible_in, wait_option
from producers.importer.rejects import Rejects
from runtime.command_line.context import pass_settings
from runtime.command_line.progress import progress_reporter
from runtime.command_line.terminal import (
    EXIT_INTERRUPTED,
    json_option,
    print_error,
    print_fields,
    print_json,
    say,
    timeout_option,
)
from runtime.process import signals_as_interrupts
from runtime.settings import Settings
from schemas.errors import Forbidden, NotInTime, Rejected, RollbookError, Unavailable

if TYPE_CHECKING:  # Kafka's client takes longer to import than a help page to print
    from producers.importer.check import CheckTotals, UserCheck
    from producers.importer.run import ImportTotals, UserImport
    from producers.importer.source import Source
    from producers.importer.user_line import BadLine, UserLine

_FORMAT_OF_SUFFIX = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
_READ_BUFFER_BYTES = 1 << 20
_AGAIN = "run the same import again: it creates no user twice"


@click.command("import")
@click.argument(
    "file", metavar="FILE|-", type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "ndjson"]),
    help="Default: by the file's name, or else by its first line.",
)
@click.option(
    "--rejects",
    "rejects_to",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="File to which rejected lines are written; it is unchanged if there are none. Default: "
    "FILE.rejects.ndjson, or a new import.rejects.ndjson, import.2.rejects.ndjson … for a pipe.",
)
@click.option(
    "--in-flight",
    metavar="N",
    type=click.IntRange(1, 200_000),
    default=20_000,
    show_default=True,
    help="How many commands may wait for their answer at once.",
)
@timeout_option(60.0, "Give up after this long without any progress.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing; only check each line: its fields, and that its address is not repeated "
    "(among the first million addresses of the file).",
)
@issued_by_option
@wait_option
@json_option
@pass_settings
def import_users(
    settings: Settings,
    /,
    *,
    file: str,
    file_format: str | None,
    rejects_to: str | None,
    timeout_seconds: float,
    dry_run: bool,
    wait_for: tuple[str, ...],
    as_json: bool,
    **sending: Any,
) -> int:
    """Create users from CSV (with a header) or NDJSON, plain or gzip: email, name, age.

    A line whose address is registered already changes nothing and is counted as already there. So
    an interrupted import can simply be run again, and so can one whose rejected lines were
    corrected. The output of `users export` can be imported: users get new ids and versions.

    CSV may have commas, semicolons or tabs between its columns, in any order. Columns other than
    email, name and age are ignored. From a pipe, lines are sent as they arrive.

    --dry-run needs no server, so it does not know which addresses are registered already.

    \b
    Examples:
      rollbook users import people.csv
      rollbook users import people.ndjson.gz --dry-run
      rollbook users import people.csv --wait postgres,elasticsearch
      ssh elsewhere cat people.csv.gz | rollbook users import - --rejects rejected.ndjson
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if dry_run and wait_for:
        raise click.UsageError("--dry-run sends nothing: there is nothing to wait for")
    with signals_as_interrupts(), visible_in(settings, wait_for) as visibility:
        with ExitStack() as stack:
            source, lines = _read(stack, file, file_format)
            rejects = Rejects(file, rejects_to, dry_run=dry_run)
            running = _opened(settings, rejects, timeout_seconds, dry_run=dry_run, **sending)
            stack.callback(running.close)
            # Opened only now, so that an import that cannot start leaves the previous list
            # unchanged.
            stack.enter_context(rejects)
            begun_at = time.monotonic()
            stopped = _run(running, lines, source, _size(file), timeout_seconds, as_json=as_json)
            seconds = time.monotonic() - begun_at
        _print_totals(running.totals, seconds, rejects, as_json=as_json)
        if stopped is None:
            token = running.totals.as_fields().get("token")
            await_visible(visibility, token, timeout_seconds, extend_on_progress=True)
    return _end(stopped, running.totals, rejects, as_json=as_json)


def _read(
    stack: ExitStack, file: str, file_format: str | None
) -> "tuple[Source, Iterator[UserLine | BadLine | None]]":
    from producers.importer.lines import read_users
    from producers.importer.read_ahead import read_ahead
    from producers.importer.source import Source

    opened = _open(file)
    if file != "-":
        stack.callback(opened.close)
    source = Source(opened)
    suffix = Path(file.lower().removesuffix(".gz")).suffix
    lines = read_users(source, file_format or _FORMAT_OF_SUFFIX.get(suffix))
    # A file never makes us wait, and reading it in a thread would only cost time.
    is_file = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)
    return source, lines if is_file else read_ahead(lines)


def _open(file: str) -> BinaryIO:
    if file == "-":
        # Not `sys.stdin`: a thread that still reads it when the process ends would abort it.
        return open(0, "rb", buffering=_READ_BUFFER_BYTES, closefd=False)
    try:
        return Path(file).open("rb", buffering=_READ_BUFFER_BYTES)
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None


def _opened(
    settings: Settings, rejects: Rejects, timeout_seconds: float, *, dry_run: bool, **sending: Any
) -> "UserCheck | UserImport":
    from producers.importer.check import UserCheck
    from producers.importer.run import UserImport

    if dry_run:
        return UserCheck(rejects.add)
    return UserImport(settings, rejects.add, timeout_seconds=timeout_seconds, **sending)


def _size(file: str) -> int | None:
    return Path(file).stat().st_size if file != "-" and Path(file).is_file() else None


def _run(
    running: "UserCheck | UserImport",
    lines: "Iterator[UserLine | BadLine | None]",
    source: "Source",
    size: int | None,
    timeout_seconds: float,
    *,
    as_json: bool,
) -> RollbookError | None:
    """Import or check the lines; return the error that ended it early, or None."""

    def progress_line(seconds: float) -> str:
        return f"{running.totals}, {_rate(running.totals, seconds):,} lines/s"

    try:
        with progress_reporter(
            progress_line, lambda: source.bytes_read, size, as_json=as_json
        ) as show:
            if not running.run(lines, show):
                return _not_decided(running.totals, timeout_seconds)
    except KeyboardInterrupt:
        return RollbookError("interrupted", code="interrupted", next_step=_AGAIN)
    except (Unavailable, Forbidden) as error:
        # Neither of them, which would mean that nothing was sent.
        return NotInTime(str(error), code=error.code, next_step=f"fix it; then {_AGAIN}")
    except RollbookError as error:  # the list of rejects cannot be written
        error.next_step = f"{error.next_step}; then {_AGAIN}" if error.next_step else _AGAIN
        return error
    if source.broken is not None:
        source.broken.next_step += f"; then {_AGAIN}"
    return source.broken


def _rate(totals: "ImportTotals | CheckTotals", seconds: float) -> int:
    return round(totals.decided / seconds) if seconds else 0


def _print_totals(
    totals: "ImportTotals | CheckTotals", seconds: float, rejects: Rejects, *, as_json: bool
) -> None:
    fields: dict[str, Any] = {
        **totals.as_fields(),
        "seconds": round(seconds, 2),
        "lines_per_second": _rate(totals, seconds),
        "rejects_file": str(rejects.path) if rejects.count else None,
    }
    if as_json:
        print_json(fields)
        return
    conflicts = fields.pop("conflicts", [])
    print_fields(fields)
    for conflict in conflicts:
        say(
            f"line {conflict['line']} differs from line {conflict['first_line']}, "
            "which has the same address"
        )


def _not_decided(totals: "ImportTotals | CheckTotals", timeout_seconds: float) -> NotInTime:
    return NotInTime(
        f"{totals.lines - totals.decided} lines are not decided, and nothing has progressed for "
        f"{timeout_seconds:g} s",
        next_step=f"are the servers and a handler running? `rollbook status`; then {_AGAIN}",
    )


def _end(
    stopped: RollbookError | None,
    totals: "ImportTotals | CheckTotals",
    rejects: Rejects,
    *,
    as_json: bool,
) -> int:
    """Return exit code 0 or 130, or raise the error that the command ends with."""
    if stopped is not None and stopped.code == "interrupted":
        print_error(stopped, as_json=as_json)
        return EXIT_INTERRUPTED
    if stopped is not None:
        raise stopped
    if totals.rejected:
        raise Rejected(
            f"{totals.rejected} lines were rejected",
            code="import_rejects",
            next_step=f"{rejects.path} says why; correct them and {_AGAIN}",
        )
    return 0
