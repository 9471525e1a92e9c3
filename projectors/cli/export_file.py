"""Output of an export: stdout, or a file that is written completely or not at all."""

import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

from schemas.errors import RollbookError

_GZIP_LEVEL = 6
_GZIP_FORMAT = 31  # zlib's code for the gzip format: header (without name and time) and checksum

Write: TypeAlias = Callable[[bytes], object]


@contextmanager
def export_output(file: str, *, as_gzip: bool) -> Iterator[Write]:
    """Yield a function that writes to `file`, which may be `-` for stdout.

    A file appears under its name once all of it is on the disk, readable only by its owner; it
    replaces an existing one. A pipe or a device is written to directly. Raises `RollbookError`:
    `cannot_write`, or `reader_gone` if a pipe was closed.
    """
    try:
        with _opened(file) as opened, _compressed(opened, as_gzip=as_gzip) as write:
            yield write
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


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    target = Path(file).resolve()
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif target.exists() and not target.is_file():
        with target.open("wb") as opened:
            yield opened
    else:
        with _whole(target) as whole:
            yield whole


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """Yield a file that becomes `target` at the end; on any error it is removed."""
    # mkstemp creates it with mode 0600.
    descriptor, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name}.", suffix=".part"
    )
    try:
        with os.fdopen(descriptor, "wb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


@contextmanager
def _compressed(output: BinaryIO, *, as_gzip: bool) -> Iterator[Write]:
    if not as_gzip:
        yield output.write
        return
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    yield lambda data: output.write(packer.compress(data))
    # Not after an error: the reader of a pipe must see that the data is incomplete.
    output.write(packer.flush())
