"""Output of an export: stdout, or a file that is written completely or not at all."""

import os
import secrets
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from schemas.errors import RollbookError

_GZIP_LEVEL = 6
_GZIP_FORMAT = 31  # zlib's code for the gzip format: header (without name and time) and checksum


def write_export(file: str, chunks: Iterable[bytes], *, as_gzip: bool) -> None:
    """Write `chunks` to `file`, which may be `-` for stdout.

    A file appears under its name once all of it is on the disk, readable only by its owner; it
    replaces an existing one. A pipe or a device is written to directly. Whatever ends this early,
    a signal included, leaves no new file. Raises `RollbookError`: `cannot_write`, or `reader_gone`
    if a pipe was closed.
    """
    if as_gzip:
        chunks = _compressed(chunks)
    target = Path(file).resolve()
    try:
        if file == "-":
            _write_all(sys.stdout.buffer, chunks)
        elif target.exists() and not target.is_file():
            with target.open("wb") as opened:
                _write_all(opened, chunks)
        else:
            _write_whole(target, chunks)
    except BrokenPipeError:
        if file == "-":
            # What Python has buffered for stdout must not fail at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise RollbookError(
            "the reader of the export closed the pipe before its end", code="reader_gone"
        ) from None
    except OSError as error:
        raise RollbookError(
            f"cannot write {'stdout' if file == '-' else file}: {error.strerror}",
            code="cannot_write",
            next_step="free some space or choose another place; no new file was left",
        ) from None


def _write_whole(target: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that becomes `target` at the end; on any error it is removed."""
    # Neither mkstemp nor a context manager of ours: an interrupt between the creation of the file
    # and the `try` around it, which may be in other code, would leave the file.
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as opened:
            _write_all(opened, chunks)
            os.fsync(opened.fileno())
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _write_all(output: BinaryIO, chunks: Iterable[bytes]) -> None:
    output.writelines(chunks)
    output.flush()


def _compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    for chunk in chunks:
        yield packer.compress(chunk)
    # Not after an error: the reader of a pipe must see that the data is incomplete.
    yield packer.flush()
