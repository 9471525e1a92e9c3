"""Where an export goes: a file that is there whole or not at all, for its owner only, or stdout."""

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
_GZIP_FORMAT = 31  # zlib's number for: header (without name and time) and checksum of gzip

Write: TypeAlias = Callable[[bytes], object]


@contextmanager
def export_output(file: str, *, as_gzip: bool) -> Iterator[Write]:
    """Yield what writes to `file`, which may be `-` for stdout.

    A file appears under its name when all of it is on the disk, readable by its owner only, and
    takes the place of one that was there; what is no plain file (a pipe, a device) is written to as
    it is. Raises `RollbookError`: `cannot_write`, or `reader_gone` if a pipe was closed.
    """
    try:
        with _opened(file) as opened, _packed(opened, as_gzip=as_gzip) as write:
            yield write
    except BrokenPipeError:
        if file == "-":
            # What Python still holds for stdout must not fail at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise RollbookError(
            "whoever read the export went away before its end", code="reader_gone"
        ) from None
    except OSError as error:
        raise RollbookError(
            f"cannot write {'stdout' if file == '-' else file}: {error.strerror}",
            code="cannot_write",
            next_step="make room or choose another place; there is no new file",
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
    """Yield a file that becomes `target` at the end; on any error there is none."""
    # mkstemp makes it for its owner only (0600).
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
def _packed(output: BinaryIO, *, as_gzip: bool) -> Iterator[Write]:
    if not as_gzip:
        yield output.write
        return
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    yield lambda data: output.write(packer.compress(data))
    # Not after an error: whoever reads a pipe must see that the data ends in the middle.
    output.write(packer.flush())
