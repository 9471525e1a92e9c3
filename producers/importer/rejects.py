"""The list of an import's rejected lines: number, code and message, nothing of their content."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Self

import click
import orjson

from schemas.errors import RollbookError


class Rejects:
    """The file to which rejected lines are written; the first of them replaces what it held.

    If no line is rejected, a file that was there already stays as it is. The only exception is the
    list of an earlier import under a name that was not `chosen`: it is removed, because its lines
    are corrected, but not by a dry run.

    Entering the `with` block raises `click.UsageError` if the file cannot be written or if another
    import that is running writes to it.
    """

    def __init__(self, file: str, chosen: str | None, *, dry_run: bool = False) -> None:
        self.path = rejects_path(file, chosen)
        self.count = 0
        self._is_temporary_name = chosen is None and not _is_beside(file)
        self._may_remove = chosen is None and not dry_run
        self._existed = True
        self._is_file = False  # and no device such as /dev/null
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self._open()
            self._is_file = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
            if self._is_file:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            raise click.UsageError(
                f"another import writes to {self.path}; choose another file with --rejects"
            ) from None
        except OSError as error:
            self._close()
            raise click.UsageError(
                f"cannot write {self.path}: {error.strerror}; choose another with --rejects"
            ) from None
        return self

    def _open(self) -> IO[bytes]:
        if self._is_temporary_name:
            # A list of another pipe must not be lost, whether that import runs or has ended.
            for path in _numbered(self.path):
                try:
                    opened = path.open("xb")
                except FileExistsError:
                    continue
                self.path, self._existed = path, False
                return opened
        self._existed = self.path.exists()
        return self.path.open("ab")

    def __exit__(self, *_exc: object) -> None:
        if (
            not self.count
            and self._is_file
            and (not self._existed or (self._may_remove and _is_list(self.path)))
        ):
            self.path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # `add` has raised it
                self._file.close()
            self._file = None

    def add(self, number: int, code: str, message: str) -> None:
        """Add line `number` to the list. Raises `RollbookError` (`cannot_write`)."""
        if self._file is None:
            raise AssertionError("add() outside the `with` block")
        if not self.count and self._is_file:
            self._file.truncate(0)
        self.count += 1
        line = {"line": number, "code": code, "message": message}
        try:
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()
        except OSError as error:
            raise RollbookError(
                f"cannot write {self.path}: {error.strerror}",
                code="cannot_write",
                next_step="free some space or choose another file with --rejects",
            ) from None


def rejects_path(file: str, chosen: str | None) -> Path:
    """Return the path of the list. Raises `click.UsageError` if it is the file to import."""
    beside = _is_beside(file)
    path = Path(chosen or (f"{file}.rejects.ndjson" if beside else "import.rejects.ndjson"))
    if path.exists() and beside and path.samefile(file):
        raise click.UsageError("--rejects names the file that is imported")
    return path


def _is_beside(file: str) -> bool:
    """Return whether the list goes beside `file`; a pipe has no folder to write to."""
    return file != "-" and Path(file).is_file()


def _numbered(path: Path) -> Iterator[Path]:
    """Return `import.rejects.ndjson`, `import.2.rejects.ndjson` and so on."""
    stem, _, suffixes = path.name.partition(".")
    return (path if n == 1 else path.with_name(f"{stem}.{n}.{suffixes}") for n in count(1))


def _is_list(path: Path) -> bool:
    """Return whether the file is the list of an earlier import."""
    try:
        with path.open("rb") as opened:
            first = orjson.loads(opened.readline())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(first, dict) and first.keys() == {"line", "code", "message"}
