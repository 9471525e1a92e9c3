"""An import reads the lines of an export; its file is written completely or not at all."""

import gzip
import json
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest

from producers.importer.encode import clean_line
from producers.importer.lines import read_users
from producers.importer.source import Source
from producers.importer.user_line import UserLine
from projectors.cli.export_file import write_export
from projectors.postgres.users.export import export_line
from schemas.errors import RollbookError
from scripts import cli
from scripts.people import people

USER_ID = "0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90"
MOMENT = datetime(2026, 7, 1, 9, 30, 0, 250_000, UTC)


def test_a_line_has_all_fields_of_a_user() -> None:
    """Times are in UTC, to the millisecond, as everywhere else."""
    line = export_line((USER_ID, "jane@example.com", "Zoë", 34, 2, MOMENT, MOMENT))
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "user_id": USER_ID,
        "email": "jane@example.com",
        "name": "Zoë",
        "age": 34,
        "version": 2,
        "created_at": "2026-07-01T09:30:00.250Z",
        "updated_at": "2026-07-01T09:30:00.250Z",
    }


def test_an_exported_user_is_imported_unchanged() -> None:
    """Names in many scripts, as the rules normalised them, are the same to the last byte."""
    stored = [clean_line(UserLine(1, *one)) for one in people(500)]
    lines = b"".join(export_line((USER_ID, *one, 1, MOMENT, MOMENT)) for one in stored)
    read = [one for one in read_users(Source(BytesIO(lines)), None) if isinstance(one, UserLine)]
    assert [clean_line(line) for line in read] == stored


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The file that a test exports to."""
    return tmp_path / "people.ndjson"


def test_a_file_is_readable_only_by_its_owner_and_replaces_another(target: Path) -> None:
    """Even if the replaced file was readable by everyone; no other file is left."""
    target.write_text("old")
    target.chmod(0o644)

    def chunks() -> Iterator[bytes]:
        yield b"new\n"
        assert target.read_text() == "old"

    write_export(str(target), chunks(), as_gzip=False)
    assert target.read_text() == "new\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    "error", [RollbookError("x"), KeyboardInterrupt(), OSError(28, "No space")]
)
def test_a_failed_export_leaves_the_previous_file(target: Path, error: BaseException) -> None:
    """Whatever the error: no new file and no temporary file."""

    def fail() -> Iterator[bytes]:
        yield b"new\n"
        raise error

    target.write_text("old")
    with pytest.raises((RollbookError, KeyboardInterrupt)):
        write_export(str(target), fail(), as_gzip=False)
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_an_export_interrupted_at_any_line_leaves_no_partial_file(tmp_path: Path) -> None:
    """Also while the file is created: it is the new file, whole, or there is none."""
    command = [sys.executable, "-m", "tests.unit.projectors.cli.interrupted_export", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"interrupted": 2, "whole": 1, "flaws": []}


def test_gzip_is_the_same_for_the_same_users(target: Path) -> None:
    """The gzip header has neither a name nor a time."""
    for _ in range(2):
        write_export(str(target), [b"a\n", b"b\n"], as_gzip=True)
        assert gzip.decompress(target.read_bytes()) == b"a\nb\n"
    assert target.read_bytes()[3:8] == bytes(5)


def test_an_incomplete_gzip_stream_is_detectable(target: Path) -> None:
    """On a pipe, where nothing can be taken back."""
    os.mkfifo(target)
    reader = os.open(target, os.O_RDONLY | os.O_NONBLOCK)

    def fail() -> Iterator[bytes]:
        yield b"a\n" * 100
        raise RollbookError("x")

    with pytest.raises(RollbookError):
        write_export(str(target), fail(), as_gzip=True)
    unpacking = zlib.decompressobj(31)
    unpacking.decompress(os.read(reader, 10_000))
    os.close(reader)
    assert not unpacking.eof


def test_pipes_and_links_are_written_to_and_not_replaced(target: Path) -> None:
    """Only a plain file is replaced, also one that a link points to."""
    os.mkfifo(target)
    reader = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
    write_export(str(target), [b"x"], as_gzip=False)
    assert os.read(reader, 10) == b"x"
    os.close(reader)
    assert target.is_fifo()
    link = target.with_name("link")
    link.symlink_to("elsewhere")
    write_export(str(link), [b"x"], as_gzip=False)
    assert link.is_symlink()
    assert target.with_name("elsewhere").read_bytes() == b"x"


def test_a_closed_pipe_is_an_error(target: Path) -> None:
    """Not all users were written."""
    os.mkfifo(target)
    reader = os.open(target, os.O_RDONLY | os.O_NONBLOCK)

    def chunks() -> Iterator[bytes]:
        os.close(reader)
        yield b"x" * 100_000

    with pytest.raises(RollbookError) as gone:
        write_export(str(target), chunks(), as_gzip=False)
    assert gone.value.code == "reader_gone"


def test_without_postgres_no_file_is_written(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 5: a server is unavailable."""
    monkeypatch.setenv("ROLLBOOK_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert cli.run(["users", "export", str(target), "--min-age", "1"]) == 5
    assert list(target.parent.iterdir()) == []
