"""The list of an import's rejected lines: number, code and message, nothing of their content."""

from pathlib import Path
from typing import IO, Self

import click
import orjson


class Rejects:
    """The file at `path`. Every import overwrites it, and removes it if no line was rejected.

    Entering the `with` block raises `click.UsageError` if the file cannot be written.
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
        """Add line `number` to the list."""
        if self._file is None:
            raise AssertionError("add() outside the `with` block")
        self.count += 1
        line = {"line": number, "code": code, "message": message}
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def rejects_path(file: str, chosen: str | None) -> Path:
    """Return the path of the list. Raises `click.UsageError` if it is the file to import."""
    # A pipe, such as /dev/fd/63 of a shell, has no folder to write to.
    beside = file != "-" and Path(file).is_file()
    path = Path(chosen or (f"{file}.rejects.ndjson" if beside else "import.rejects.ndjson"))
    if path.exists() and beside and path.samefile(file):
        raise click.UsageError("--rejects names the file that is imported")
    return path
