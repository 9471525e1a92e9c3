"""The parts of a backup are used as they were written, or not at all."""

from hashlib import sha256
from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from scripts.backup.directory import (
    BackupDirectory,
    CopiedPartition,
    Part,
    PartitionCut,
    check_files,
)
from scripts.backup.files import BackupFile
from tests.samples.events import event_of
from tests.unit.scripts.backup.copies import add_part

EVENTS = [[event_of(f"user{n}@example.com", seq=1)] for n in range(2)]


def refused(folder: Path, code: str, name: str) -> None:
    """The backup is refused with this code, naming this file or folder."""
    with pytest.raises(Misconfigured, match=name) as error:
        list(check_files(BackupDirectory(folder).parts()))
    assert error.value.code == code


@pytest.fixture
def backup(tmp_path: Path) -> list[Part]:
    """A backup of three parts."""
    return [add_part(tmp_path / "backup", EVENTS) for _ in range(3)]


def test_parts_are_read_in_their_order(tmp_path: Path, backup: list[Part]) -> None:
    """All of their files, and every folder is closed to others."""
    directory = BackupDirectory(tmp_path / "backup")
    parts = directory.parts()
    assert parts == backup
    sizes = [path.stat().st_size for part in parts for path in part.path.glob("*.avro")]
    assert sum(check_files(parts)) == sum(sizes)
    assert {part.path.stat().st_mode & 0o777 for part in parts} == {0o700}


def test_no_folder_has_no_parts(tmp_path: Path) -> None:
    assert BackupDirectory(tmp_path / "backup").parts() == []


def test_a_changed_file_is_found(tmp_path: Path, backup: list[Part]) -> None:
    """One bit is enough."""
    path = backup[1].path / "history-0001-0.avro"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    refused(tmp_path / "backup", "damaged_backup", "part-0002/history-0001-0.avro")


def test_a_missing_file_is_found(tmp_path: Path, backup: list[Part]) -> None:
    (backup[0].path / "commands.avro").unlink()
    refused(tmp_path / "backup", "damaged_backup", "part-0001/commands.avro")


def test_a_changed_manifest_is_found(tmp_path: Path, backup: list[Part]) -> None:
    path = backup[2].path / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"seq": 1', '"seq": 2'), "utf-8")
    refused(tmp_path / "backup", "damaged_backup", "part-0003/manifest.json")
    path.write_text("{}", "utf-8")
    refused(tmp_path / "backup", "damaged_backup", "part-0003/manifest.json")


def test_a_missing_part_is_found(tmp_path: Path, backup: list[Part]) -> None:
    backup[1].path.rename(tmp_path / "elsewhere")
    refused(tmp_path / "backup", "damaged_backup", "part-0002")


def test_a_manifest_with_other_fields_is_found(tmp_path: Path) -> None:
    """Also without those that say whether a later release wrote it, and if it is no JSON."""
    for text in ('{"version": 1}', "[]", "x"):
        part = add_part(tmp_path / text[:1], EVENTS)
        checksum = sha256(text.encode()).hexdigest()
        (part.path / "manifest.json").write_text(f"{text}\n{checksum}\n", "utf-8")
        refused(tmp_path / text[:1], "damaged_backup", "part-0001/manifest.json")


def test_the_last_folder_without_a_manifest_is_no_part(tmp_path: Path, backup: list[Part]) -> None:
    """It is being copied: a restore does without it, a backup replaces it. Others are damaged."""
    (backup[2].path / "manifest.json").unlink()
    directory = BackupDirectory(tmp_path / "backup")
    assert directory.parts() == backup[:2]
    assert add_part(tmp_path / "backup", EVENTS).path == backup[2].path
    assert len(directory.parts()) == 3
    (backup[1].path / "manifest.json").unlink()
    refused(tmp_path / "backup", "damaged_backup", "part-0002/manifest.json")


def test_a_part_of_another_backup_is_found(tmp_path: Path, backup: list[Part]) -> None:
    other = [add_part(tmp_path / "other", [[], []]) for _ in range(2)]
    backup[1].path.rename(tmp_path / "elsewhere")
    other[1].path.rename(backup[1].path)
    refused(tmp_path / "backup", "damaged_backup", "part-0002")


@pytest.mark.parametrize("newer", [{"version": 2}, {"log_format": 3}])
def test_a_backup_of_a_later_release_is_refused(tmp_path: Path, newer: dict[str, int]) -> None:
    add_part(tmp_path / "backup", EVENTS, **newer)  # type: ignore[arg-type]
    refused(tmp_path / "backup", "newer_backup", "part-0001")


def test_an_unfinished_part_is_continued_or_begun_again(tmp_path: Path) -> None:
    """Continued only if it follows the same part of the same log; it is never restored."""
    directory = BackupDirectory(tmp_path / "backup")
    path, progress = directory.begin("topic", "")
    file = BackupFile("history-0000-0.avro", 1, 2, "ab")
    progress.copied[0] = CopiedPartition(PartitionCut(5, 4, 3), [file])
    progress.copied[1] = CopiedPartition(PartitionCut(), skipped=1)
    directory.keep(path, progress)
    assert directory.begin("topic", "") == (path, progress)
    assert directory.parts() == []
    assert directory.begin("other topic", "")[1].copied == {}
    directory.keep(path, progress)
    assert directory.begin("topic", "other part")[1].copied == {}
