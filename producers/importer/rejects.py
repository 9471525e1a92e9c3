"""The list of an import's refused lines: number, code and sentence, nothing of their content."""

from pathlib import Path
from typing import IO, Self

import click
import orjson


class Rejects:
    """The list at `path`. It begins anew with every import; nothing refused leaves no file.

    Entering raises `click.UsageError` if it cannot be written.
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
        """List the line `number`."""
        if self._file is None:
            raise AssertionError("rejects are added within `with`")
        self.count += 1
        line = {"line": number, "code": code, "message": message}
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def rejects_path(file: str, chosen: str | None) -> Path:
    """Return where the list goes; raises `click.UsageError` if that is the file to import."""
    # A pipe (also one of the shell's /dev/fd/63) has no folder of its own to write beside.
    beside = file != "-" and Path(file).is_file()
    path = Path(chosen or (f"{file}.rejects.ndjson" if beside else "import.rejects.ndjson"))
    if path.exists() and beside and path.samefile(file):
        raise click.UsageError("--rejects names the file that is imported")
    return path
