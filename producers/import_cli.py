"""`rollbook users import`: shows how far it has come, keeps what was refused, tells the totals."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Self

import click
import orjson

from runtime.context import pass_settings
from runtime.settings import Settings
from runtime.terminal import (
    EXIT_INTERRUPTED,
    Seconds,
    json_option,
    print_error,
    print_fields,
    print_json,
    say,
)
from schemas.errors import NotInTime, Rejected, RollbookError, Unavailable

if TYPE_CHECKING:  # Kafka's client takes longer to import than a help page to print
    from producers.import_lines import Source
    from producers.import_users import ImportTotals

_FORMAT_OF_SUFFIX = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
_READ_BUFFER_BYTES = 1 << 20
_LINE_EVERY_SECONDS = 5.0
_BAR_EVERY_SECONDS = 0.2
_AGAIN = "run the same import again: it creates nobody twice"


@click.command("import")
@click.argument(
    "file", metavar="FILE|-", type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "ndjson"]),
    help="Else told by the file's name, or by its first line.",
)
@click.option(
    "--rejects",
    "rejects_path",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Where refused lines are listed. Default: FILE.rejects.ndjson, for - "
    "import.rejects.ndjson.",
)
@click.option(
    "--in-flight",
    metavar="N",
    type=click.IntRange(1, 200_000),
    default=20_000,
    show_default=True,
    help="The most commands waiting for their answer.",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    metavar="SECONDS",
    type=Seconds(min=0, min_open=True, max=86_400),
    default=60.0,
    show_default=True,
    help="Give up when nothing went forward for this long.",
)
@json_option
@pass_settings
def import_users(
    settings: Settings,
    *,
    file: str,
    file_format: str | None,
    rejects_path: str | None,
    in_flight: int,
    timeout_seconds: float,
    as_json: bool,
) -> int:
    """Create users from CSV (with a header) or NDJSON: email, name, age.

    An address that is held already counts as already there. An interrupted import may simply be run
    again; so may one whose refused lines were mended.

    \b
    Examples:
      rollbook users import people.csv
      zcat people.ndjson.gz | rollbook users import - --rejects refused.ndjson
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from producers.import_lines import Source, read_users
    from producers.import_users import UserImport

    with ExitStack() as stack:
        opened = _open(file)
        if file != "-":
            stack.callback(opened.close)
        source = Source(opened)
        lines = read_users(source, file_format or _FORMAT_OF_SUFFIX.get(Path(file).suffix.lower()))
        rejects = _Rejects(_rejects_path(file, rejects_path))
        running = UserImport(
            settings, rejects.add, in_flight=in_flight, timeout_seconds=timeout_seconds
        )
        stack.callback(running.close)
        # Only now: an import that cannot begin leaves the list of the last one as it is.
        stack.enter_context(rejects)
        begun_at = time.monotonic()
        stopped: RollbookError | None = None
        try:
            with _progress(file, source, running.totals, as_json=as_json) as show:
                if not running.run(lines, show):
                    stopped = _not_decided(running.totals, timeout_seconds)
        except KeyboardInterrupt:
            stopped = RollbookError("interrupted", code="interrupted", next_step=_AGAIN)
        except Unavailable as error:
            # Not "nothing was sent": lines before this one were.
            stopped = NotInTime(str(error), code=error.code, next_step=f"mend it; then {_AGAIN}")
        seconds = time.monotonic() - begun_at
    _print_totals(running.totals, seconds, rejects, as_json=as_json)
    return _end(stopped, running.totals, rejects, as_json=as_json)


def _open(file: str) -> BinaryIO:
    if file == "-":
        return sys.stdin.buffer
    try:
        return Path(file).open("rb", buffering=_READ_BUFFER_BYTES)
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None


def _rejects_path(file: str, chosen: str | None) -> Path:
    # A pipe (also one of the shell's /dev/fd/63) has no folder of its own to write beside.
    beside = file != "-" and Path(file).is_file()
    path = Path(chosen or (f"{file}.rejects.ndjson" if beside else "import.rejects.ndjson"))
    if path.exists() and beside and path.samefile(file):
        raise click.UsageError("--rejects names the file that is imported")
    return path


class _Rejects:
    """The list of refused lines: number, code and sentence, nothing of their content.

    It begins anew with every import, and there is no file where nothing was refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self.path.open("wb")
        except OSError as error:
            raise click.UsageError(
                f"cannot write {self.path}: {error.strerror}; choose another with --rejects"
            ) from None
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._file is not None:
            self._file.close()
        if not self.count and self.path.is_file():
            self.path.unlink()

    def add(self, number: int, code: str, message: str) -> None:
        if self._file is None:
            raise AssertionError("rejects are added within `with`")
        self.count += 1
        line = {"line": number, "code": code, "message": message}
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


@contextmanager
def _progress(
    file: str, source: "Source", totals: "ImportTotals", *, as_json: bool
) -> Iterator[Callable[[], None] | None]:
    """Yield what shows how far the import has come: a bar on a terminal, else now and then a line.

    With `--json` stderr is for errors only.
    """
    if as_json:
        yield None
    elif sys.stderr.isatty():
        with _bar(file, source, totals) as show:
            yield _every(_BAR_EVERY_SECONDS, show)
    else:
        begun_at = time.monotonic()

        def tell() -> None:
            say(_how_far(totals, time.monotonic() - begun_at))

        yield _every(_LINE_EVERY_SECONDS, tell)


def _every(seconds: float, show: Callable[[], None]) -> Callable[[], None]:
    next_at = time.monotonic() + seconds

    def show_if_due() -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + seconds
            show()

    return show_if_due


def _how_far(totals: "ImportTotals", seconds: float) -> str:
    decided = totals.lines - totals.undecided
    rate = decided / seconds if seconds else 0
    return f"{totals.lines:,} lines read, {decided:,} decided, {rate:,.0f} lines/s"


@contextmanager
def _bar(file: str, source: "Source", totals: "ImportTotals") -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    size = Path(file).stat().st_size if file != "-" and Path(file).is_file() else None
    begun_at = time.monotonic()
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=size)

        def show() -> None:
            how_far = _how_far(totals, time.monotonic() - begun_at)
            progress.update(task, completed=source.bytes_read, description=how_far)

        yield show


def _print_totals(
    totals: "ImportTotals", seconds: float, rejects: _Rejects, *, as_json: bool
) -> None:
    decided = totals.lines - totals.undecided
    fields: dict[str, Any] = {
        **totals.as_fields(),
        "seconds": round(seconds, 2),
        "lines_per_second": round(decided / seconds) if seconds else 0,
        "rejects_file": str(rejects.path) if rejects.count else None,
    }
    (print_json if as_json else print_fields)(fields)


def _not_decided(totals: "ImportTotals", timeout_seconds: float) -> NotInTime:
    return NotInTime(
        f"{totals.undecided} lines are not decided, and nothing went forward for "
        f"{timeout_seconds:g} s",
        next_step=f"are the servers and a handler running? `rollbook status`; then {_AGAIN}",
    )


def _end(
    stopped: RollbookError | None, totals: "ImportTotals", rejects: _Rejects, *, as_json: bool
) -> int:
    """Return 0 or 130, or raise what the import ends with."""
    if stopped is not None and stopped.code == "interrupted":
        print_error(stopped, as_json=as_json)
        return EXIT_INTERRUPTED
    if stopped is not None:
        raise stopped
    if totals.rejected:
        raise Rejected(
            f"{totals.rejected} lines were refused",
            code="import_rejects",
            next_step=f"{rejects.path} says why; mend them and {_AGAIN}",
        )
    return 0
