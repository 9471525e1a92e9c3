"""Output and exit codes of every command, so that all of them behave alike.

Results go to stdout: tables for people, one JSON object (or NDJSON for many) with `--json`.
Everything else goes to stderr. Colours and progress bars appear on a terminal only. A
`RollbookError` ends the command with the exit code of its class.
"""

import errno
import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import cycle
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
import orjson

from runtime.logs import logs_json
from runtime.printable import printable
from schemas.errors import (
    Fenced,
    Misconfigured,
    NotInTime,
    Rejected,
    RollbookError,
    Unavailable,
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_NOT_IN_TIME = 4
EXIT_UNAVAILABLE = 5
EXIT_INTERRUPTED = 130

if TYPE_CHECKING:
    from rich.text import Text

_EXITS: list[tuple[type[RollbookError], int]] = [
    (Misconfigured, EXIT_USAGE),
    (Rejected, EXIT_REFUSED),
    (NotInTime, EXIT_NOT_IN_TIME),
    (Unavailable, EXIT_UNAVAILABLE),
    (Fenced, EXIT_FAILED),
]


log = logging.getLogger(__name__)

T = TypeVar("T")

# Errors of files and folders, not of connections, which have their own.
_FILE_ERRORS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


def exit_code(error: RollbookError) -> int:
    """Return the exit code for the class of `error`; 1 if it has none."""
    return next((code for kind, code in _EXITS if isinstance(error, kind)), EXIT_FAILED)


class Seconds(click.FloatRange):
    """A range of seconds; unlike click's own, it refuses nan, which passes every range check."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds; fail as click does."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


class Parsed(click.ParamType[T]):
    """Text that `parse` converts; what it refuses, with `Rejected` or ValueError, is misuse."""

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Return what `parse` does; fail as click does."""
        try:
            return self._parse(value)
        except Rejected as error:
            self.fail(f"{error}; {error.next_step}", param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` to a command, passed as `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON: one object, or one a line for many."
    )(command)


def timeout_option(
    default_seconds: float, explanation: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds `--timeout` to a command, passed as `timeout_seconds`: at most a day."""
    return click.option(
        "--timeout",
        "timeout_seconds",
        metavar="SECONDS",
        type=Seconds(min=0, min_open=True, max=86_400),
        default=default_seconds,
        show_default=True,
        help=explanation,
    )


def print_json(record: Mapping[str, Any]) -> None:
    """Print `record` as one line of JSON on stdout."""
    try:
        line = orjson.dumps(record, default=str)
    except TypeError:  # the name of a file that is not UTF-8
        readable = {name: _readable(value) for name, value in record.items()}
        line = orjson.dumps(readable, default=str)
    click.echo(line)


def _readable(value: Any) -> Any:
    """Return a text with everything escaped that is not valid Unicode; any other value as it is."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def print_fields(record: Mapping[str, Any]) -> None:
    """Print one result for people: a line per field, names aligned, missing fields left out."""
    shown = {name: value for name, value in record.items() if value is not None}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        label = click.style(f"{name:<{width}}", dim=True)
        click.echo(f"{label}  {printable(_cell(value))}")


@dataclass(frozen=True, slots=True)
class Marked:
    """Text in pieces; every second piece is highlighted on a terminal."""

    pieces: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(self.pieces)


def print_table(columns: list[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print many results for people: an aligned table, or tab-separated lines when piped."""
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(printable(_cell(value)) for value in row))
        return
    from rich.console import Console
    from rich.table import Column, Table

    # Text that is too wide is wrapped, never cut: people copy ids from it.
    headers = (Column(name, overflow="fold") for name in columns)
    table = Table(*headers, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_styled(value) for value in row))
    Console().print(table)


def _styled(value: Any) -> "Text":
    from rich.text import Text

    if not isinstance(value, Marked):
        return Text(printable(_cell(value)))
    styles = cycle(("", "bold yellow"))
    return Text.assemble(
        *((printable(p), style) for p, style in zip(value.pieces, styles, strict=False))
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def run_command(command: click.Command, arguments: list[str], **context: Any) -> int:
    """Run one command line; return its exit code instead of ending the process.

    `context` are arguments of `click.Context`.
    """
    as_json = "--json" in arguments
    try:
        with _robust_output():
            result: Any = command.main(arguments, standalone_mode=False, **context)
    except RollbookError as error:
        print_error(error, as_json=as_json)
        return exit_code(error)
    except click.ClickException as error:
        if as_json:
            print_error(RollbookError(error.format_message(), code="usage"), as_json=True)
        else:
            with _optional_errors():
                error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


@contextmanager
def _robust_output() -> Iterator[None]:
    """Let output in any encoding and to a full disk fail with a sentence, or not at all.

    Raises `RollbookError` (`cannot_write`, `file_error`) for an error of the file system.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for names that it cannot show
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in _FILE_ERRORS:
            raise
        _discard(sys.stdout)
        why = os.strerror(error.errno or 0)
        if error.filename is None:
            raise RollbookError(
                f"cannot write the output: {why}",
                code="cannot_write",
                next_step="what was printed is incomplete",
            ) from None
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        raise RollbookError(f"{name}: {why}", code="file_error") from None


def _discard(stream: TextIO) -> None:
    """Discard what is buffered: as the process ends, writing it would fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _optional_errors() -> Iterator[None]:
    """Let nothing happen if stderr cannot be written: the exit code still says what happened."""
    try:
        yield
    except OSError:
        _discard(sys.stderr)


def say(message: str) -> None:
    """Print a line that is not a result on stderr; if that cannot be written, nothing happens."""
    with _optional_errors():
        click.echo(message, err=True)


def print_error(error: RollbookError, *, as_json: bool) -> None:
    """Print `error` on stderr: `{"error": {code, message, next}}` or a sentence and what to do.

    A process that logs as JSON logs it instead.
    """
    if as_json:
        # A message may quote an argument that is not valid UTF-8.
        body = {"code": error.code, "message": str(error), "next": error.next_step}
        readable = {name: _readable(value) for name, value in body.items()}
        with _optional_errors():
            click.echo(orjson.dumps({"error": readable}), err=True)
        return
    if logs_json():
        log.critical("%s; next: %s", error, error.next_step)
        return
    say(click.style("error: ", fg="red", bold=True) + str(error))
    if error.next_step:
        say(f"  next: {error.next_step}")
