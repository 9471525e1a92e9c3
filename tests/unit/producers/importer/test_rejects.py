"""The list of rejects replaces nothing that somebody may still need."""

import os
from pathlib import Path

import click
import pytest

from producers.importer.rejects import Rejects
from schemas.errors import RollbookError

PERSONAL = b"nobody may delete this\n"
EARLIER = b'{"line":2,"code":"invalid_command","message":"m"}\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").touch()
    return tmp_path


def run(
    file: str, chosen: str | None = None, *, reject: bool = False, dry_run: bool = False
) -> Path:
    """Run an import without lines, or with one that is rejected; return the list's path."""
    with Rejects(file, chosen, dry_run=dry_run) as rejects:
        if reject:
            rejects.add(7, "code", "message")
    return rejects.path


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("content", [PERSONAL, EARLIER, b""])
def test_a_chosen_file_is_unchanged_if_nothing_is_rejected(content: bytes, dry_run: bool) -> None:  # noqa: FBT001
    Path("chosen").write_bytes(content)
    run("people.csv", "chosen", dry_run=dry_run)
    assert Path("chosen").read_bytes() == content


def test_a_list_that_was_not_needed_is_not_left() -> None:
    assert not run("people.csv", "new").exists()
    assert not run("people.csv").exists()
    assert not run("-").exists()


def test_a_rejected_line_replaces_the_earlier_list() -> None:
    path = Path("people.csv.rejects.ndjson")
    path.write_bytes(EARLIER * 3)
    assert run("people.csv", reject=True) == path
    assert path.read_bytes() == b'{"line":7,"code":"code","message":"message"}\n'


def test_the_list_of_corrected_lines_is_removed_but_not_by_a_dry_run() -> None:
    """Nor is a file that is no list of an import."""
    path = Path("people.csv.rejects.ndjson")
    path.write_bytes(EARLIER)
    run("people.csv", dry_run=True)
    assert path.read_bytes() == EARLIER
    run("people.csv")
    assert not path.exists()
    path.write_bytes(PERSONAL)
    run("people.csv")
    assert path.read_bytes() == PERSONAL


def test_imports_from_pipes_have_lists_of_their_own() -> None:
    """While both run, and after the first has ended."""
    with Rejects("-", None) as one, Rejects("-", None) as other:
        one.add(1, "one", "m")
        other.add(1, "other", "m")
    third = run("-", reject=True)
    names = [one.path.name, other.path.name, third.name]
    assert names == [
        "import.rejects.ndjson",
        "import.2.rejects.ndjson",
        "import.3.rejects.ndjson",
    ]
    assert b"one" in one.path.read_bytes()
    assert b"other" in other.path.read_bytes()


def test_two_imports_cannot_write_one_list() -> None:
    with Rejects("people.csv", None) as one:
        one.add(1, "one", "m")
        with (
            pytest.raises(click.UsageError, match="another import writes to"),
            Rejects("people.csv", None),
        ):
            pass
    assert b"one" in one.path.read_bytes()


def test_a_device_may_take_the_list() -> None:
    assert run("people.csv", os.devnull, reject=True) == Path(os.devnull)
    assert Path(os.devnull).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named() -> None:
    with (
        pytest.raises(RollbookError, match="No space left on device") as failed,
        Rejects("people.csv", "/dev/full") as rejects,
    ):
        rejects.add(1, "code", "message")
    assert failed.value.code == "cannot_write"
