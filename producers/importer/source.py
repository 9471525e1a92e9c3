"""Reads the lines of a file to import, in bounded memory, and decompresses gzip.

The first bytes show whether it is gzip, so a pipe needs no file name. The first line shows whether
lines end with LF (or CR LF) or with CR alone, as old programs of the Mac wrote them. A truncated
file ends with its last complete line: half a line could be a wrong user.
"""

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, TypeAlias, cast

from schemas.errors import RollbookError

LINE_MAX_BYTES = 65_536

_BOM = b"\xef\xbb\xbf"
_GZIP_BEGIN: Final = b"\x1f\x8b"
_GZIP_FORMAT: Final = 31  # zlib's number for: header and checksum of gzip
_PACKED_BYTES = 16_384  # also the precision with which damage is located
_BUFFER_BYTES = 1 << 20

RawLine: TypeAlias = tuple[int, bytes | None]


class Source:
    """The lines of a file with their numbers, from 1; `broken` is the error if it ended early.

    `bytes_read` counts bytes of the file on disk, so compressed ones for gzip.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._bytes = _Bytes(file)
        self._file = io.BufferedReader(_LineEnds(self._bytes), _BUFFER_BYTES)
        self._number = 0
        self.broken: RollbookError | None = None

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file were read."""
        return self._bytes.taken

    def __iter__(self) -> Iterator[RawLine]:
        return self

    def __next__(self) -> RawLine:
        """Return the next line and its number; None instead of a line that is too long."""
        if self.broken is not None:
            raise StopIteration
        try:
            return self._next()
        except (_BrokenGzipError, OSError) as error:
            self.broken = self._broken(error)
            raise StopIteration from None

    def _next(self) -> RawLine:
        raw = self._file.readline(LINE_MAX_BYTES + 1)
        if not raw:
            raise StopIteration
        self._number += 1
        if self._number == 1:
            raw = raw.removeprefix(_BOM)
        if len(raw) > LINE_MAX_BYTES:
            while raw and not raw.endswith(b"\n"):
                raw = self._file.readline(LINE_MAX_BYTES)
            return self._number, None
        return self._number, raw

    def _broken(self, error: Exception) -> RollbookError:
        where = f"byte {self.bytes_read} of the file, after {self._number} whole lines"
        if isinstance(error, OSError):
            return RollbookError(
                f"reading failed at {where}: {error.strerror or type(error).__name__}",
                code="unreadable_file",
                next_step="fix the cause",
            )
        return RollbookError(
            f"{error} at {where}",
            code="broken_gzip",
            next_step="get a complete copy of the file (`gzip -t` or --dry-run checks it)",
        )


class _BrokenGzipError(Exception):
    """The gzip data cannot be decompressed further; the message is the start of a sentence."""


class _Bytes(io.RawIOBase):
    """The bytes of `file`, decompressed if it is gzip; several gzip members are concatenated."""

    def __init__(self, file: BinaryIO) -> None:
        # `read1` returns what a pipe has, so a slow pipe is imported as it delivers.
        self._file = cast("io.BufferedReader", file)
        self._packed = self._file.read(len(_GZIP_BEGIN))
        self._is_gzip = self._packed == _GZIP_BEGIN
        self._member = zlib.decompressobj(_GZIP_FORMAT) if self._is_gzip else None
        self.taken = len(self._packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what callers give
        most = len(buffer)
        data = self._unpacked(most) if self._is_gzip else self._plain(most)
        buffer[: len(data)] = data
        return len(data)

    def _plain(self, most: int) -> bytes:
        head, self._packed = self._packed, b""
        return head or self._take(most)

    def _take(self, most: int) -> bytes:
        data = self._file.read1(most)
        self.taken += len(data)
        return data

    def _unpacked(self, most: int) -> bytes:
        """Return at most `most` bytes; none after the last member."""
        while True:
            packed = self._packed or self._take(_PACKED_BYTES)
            if self._member is None:
                # Between members; some tools fill their last block with zeros.
                self._packed = packed.lstrip(b"\0")
                if not packed:
                    return b""
                if self._packed:
                    self._member = zlib.decompressobj(_GZIP_FORMAT)
                continue
            try:
                data = self._member.decompress(packed, most)
            except zlib.error:
                raise _BrokenGzipError(
                    "the gzip data is damaged (and may have been wrong before)"
                ) from None
            self._packed = self._member.unconsumed_tail
            if self._member.eof:
                self._packed, self._member = self._member.unused_data, None
            if data:
                return data
            if not packed:
                raise _BrokenGzipError("the gzip data ends in the middle")


class _LineEnds(io.RawIOBase):
    """The bytes of `file` with LF instead of CR, if CR alone ends the first line."""

    def __init__(self, file: _Bytes) -> None:
        self._file = file
        self._is_known = False
        self._ends_with_cr = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what callers give
        count = self._file.readinto(buffer)
        if not self._is_known:
            count = self._find_out(buffer, count)
        if self._ends_with_cr:
            buffer[:count] = bytes(buffer[:count]).replace(b"\r", b"\n")
        return count

    def _find_out(self, buffer: memoryview, count: int) -> int:
        """Look at the first line's end; return how many bytes the buffer has now."""
        data = bytes(buffer[:count])
        if data.endswith(b"\r") and b"\n" not in data and data.count(b"\r") == 1:
            # Only the next byte shows whether this is CR LF.
            count += self._file.readinto(buffer[count : count + 1])
            data = bytes(buffer[:count])
        self._is_known = count == 0 or b"\n" in data or b"\r" in data
        first = data.partition(b"\n")[0]
        self._ends_with_cr = b"\r" in first.removesuffix(b"\r" if b"\n" in data else b"")
        return count
