"""Plain, compressed and broken files give numbered lines, never half a line."""

import gzip
import random
from io import BufferedReader, BytesIO, RawIOBase

import pytest

from producers.importer.lines import read_users
from producers.importer.source import Source
from schemas.errors import RollbookError

HEADER = b"email,name,age\n"
LINES = [b"user%d@example.com,Name,%d\n" % (n, n % 100) for n in range(3_000)]
TEXT = HEADER + b"".join(LINES)


def lines(content: bytes) -> list[bytes | None]:
    return [raw for _, raw in Source(BytesIO(content))]


def broken(content: bytes) -> tuple[list[bytes | None], RollbookError]:
    source = Source(BytesIO(content))
    read = [raw for _, raw in source]
    assert source.broken is not None
    return read, source.broken


class Pipe(RawIOBase):
    """Returns a few bytes at a time, as a slow pipe does, and may fail at its end."""

    def __init__(self, content: bytes, failure: OSError | None = None) -> None:
        self._content, self._failure, self._chance = content, failure, random.Random(3)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what callers give
        if self._failure and not self._content:
            raise self._failure
        data = self._content[: min(len(buffer), self._chance.randint(1, 40))]
        self._content = self._content[len(data) :]
        buffer[: len(data)] = data
        return len(data)


def test_gzip_is_recognised_by_its_first_bytes() -> None:
    """The name does not matter; plain text is unchanged, even a single byte or none."""
    assert lines(gzip.compress(TEXT)) == lines(TEXT) == [HEADER, *LINES]
    assert lines(b"a") == [b"a"]
    assert lines(b"") == lines(gzip.compress(b"")) == []


@pytest.mark.parametrize("content", [TEXT, gzip.compress(TEXT)], ids=["plain", "gzip"])
def test_a_pipe_may_return_any_number_of_bytes(content: bytes) -> None:
    """Also the first two bytes one at a time."""
    source = Source(BufferedReader(Pipe(content)))
    assert [raw for _, raw in source] == [HEADER, *LINES]
    assert (source.bytes_read, source.broken) == (len(content), None)


def test_gzip_members_are_concatenated() -> None:
    """As `cat a.gz b.gz` makes them; a line may span two members."""
    halves = [TEXT[:5_003], b"", TEXT[5_003:]]
    assert lines(b"".join(map(gzip.compress, halves))) == [HEADER, *LINES]
    assert lines(gzip.compress(TEXT) + bytes(500)) == [HEADER, *LINES]


def test_very_repetitive_text_is_decompressed_in_steps() -> None:
    """A few bytes may expand to megabytes; each is read exactly once."""
    source = Source(BytesIO(gzip.compress(b"x" * 99 + b"\n" + b"y" * 20_000_000)))
    assert [(number, raw and len(raw)) for number, raw in source] == [(1, 100), (2, None)]


@pytest.mark.parametrize("kept", [3, 9, 200, 4_000, -9, -8, -1])
def test_a_truncated_gzip_file_ends_with_its_last_complete_line(kept: int) -> None:
    """Half a line could be a wrong user; the error names line and byte."""
    content = gzip.compress(TEXT, 6)[:kept]
    read, error = broken(content)
    assert read == [HEADER, *LINES][: len(read)]
    assert error.code == "broken_gzip"
    assert f"byte {len(content)} of the file, after {len(read)} whole lines" in str(error)


def test_a_damaged_gzip_file_is_an_error() -> None:
    """Damage in the data, the checksum, the length, or after the last member."""
    content = gzip.compress(TEXT)
    middle = len(content) // 2
    damaged = content[:middle] + bytes(20) + content[middle + 20 :]
    wrong_sum = content[:-8] + b"\0\0\0\0" + content[-4:]
    for bad in (damaged, wrong_sum, content[:-1] + b"\1", content + b"garbage"):
        read, error = broken(bad)
        assert read == [HEADER, *LINES][: len(read)]
        assert "damaged" in str(error)


def test_a_disk_that_fails_is_an_error() -> None:
    """With the line number, but neither path nor content."""
    failure = OSError(5, "Input/output error", "name")
    source = Source(BufferedReader(Pipe(HEADER, failure)))
    assert [raw for _, raw in source] == [HEADER]
    assert str(source.broken).startswith("reading failed at byte 15 of the file, after 1 whole")
    assert next(source, None) is None


@pytest.mark.parametrize("file_format", [None, "csv", "ndjson"])
def test_a_file_that_is_broken_before_its_first_line_is_refused(file_format: str | None) -> None:
    """Before anything is sent."""
    with pytest.raises(RollbookError, match="ends in the middle"):
        read_users(Source(BytesIO(gzip.compress(TEXT)[:12])), file_format)
