"""The folder of a backup: parts in order, each complete once its folder has its final name.

The first part is a full copy; each later one holds what was new. Every part has a manifest, which
names the files with their checksums and is itself covered by one. A part also states the checksum
of the manifest before it, so that the parts of two backups cannot be mixed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from schemas.errors import Misconfigured
from schemas.formats import FIRST_FORMAT, LATEST_FORMAT
from scripts.backup.files import BackupFile, damaged, sha256_of

_VERSION: Final = 1
_MANIFEST: Final = "manifest.json"
_PROGRESS: Final = "progress.json"
_UNFINISHED: Final = ".unfinished"


@dataclass(frozen=True, slots=True)
class PartitionCut:
    """Where the cut is in one partition.

    `next_offset` is the first of `user-history` that is not copied; `seq` and `time_ms` are those
    of the last event, 0 if there is none. `format` is that of the log, and `outcomes` counts the
    answers of this part.
    """

    next_offset: int = 0
    seq: int = 0
    time_ms: int = 0
    format: int = FIRST_FORMAT
    outcomes: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one part holds. `history` has the files of each partition, in their order.

    `created_at` is the time of the cut, in whole seconds: what was committed before is in the part.
    `previous` is the checksum of the manifest before, '' for the first part. `topic_id` is Kafka's
    id of `user-history`: the log that was copied. `skipped` counts records that no handler wrote.
    """

    created_at: str
    prefix: str
    partitions: int
    topic_id: str
    previous: str
    cuts: list[PartitionCut]
    history: list[list[BackupFile]]
    outcomes: BackupFile
    commands: BackupFile
    skipped: int = 0
    version: int = _VERSION

    def files(self) -> list[BackupFile]:
        """Return every file of the part."""
        return [*(one for some in self.history for one in some), self.outcomes, self.commands]


@dataclass(frozen=True, slots=True)
class Part:
    """A complete part: its folder, its manifest and the checksum of that."""

    path: Path
    manifest: Manifest
    checksum: str


@dataclass(slots=True)
class Progress:
    """What an unfinished part has, by partition."""

    topic_id: str
    previous: str
    copied: dict[int, "CopiedPartition"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CopiedPartition:
    """How far a partition of `user-history` is copied, and the files of that."""

    reached: PartitionCut
    files: list[BackupFile] = field(default_factory=list)
    skipped: int = 0


class BackupDirectory:
    """The parts in a folder, which is created if it is missing, readable only by its owner."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def parts(self) -> list[Part]:
        """Return the complete parts in their order; the last folder is no part without a manifest.

        Raises `Misconfigured`: `damaged_backup` if a manifest is damaged or a part is missing, and
        `newer_backup` if a later release wrote it. The files are not read: see `check_files`.
        """
        names = sorted(path.name for path in self.path.glob("part-????") if path.is_dir())
        if names and not (self.path / names[-1] / _MANIFEST).exists():
            names.pop()  # being copied here from elsewhere
        found: list[Part] = []
        for number, name in enumerate(names, 1):
            if name != _name(number):
                raise damaged(self.path / _name(number), f"it is missing, {name} is not")
            part = _read_part(self.path / name)
            if part.manifest.previous != (found[-1].checksum if found else ""):
                raise damaged(part.path / _MANIFEST, "it does not follow the part before it")
            found.append(part)
        return found

    def begin(self, topic_id: str, previous: str) -> tuple[Path, Progress]:
        """Return the folder of the next part and what a killed run has copied into it."""
        name = _name(len(self.parts()) + 1)
        folder = self.path / f"{name}{_UNFINISHED}"
        shutil.rmtree(self.path / name, ignore_errors=True)  # it has no manifest
        progress = _read_progress(folder / _PROGRESS)
        if progress is None or (progress.topic_id, progress.previous) != (topic_id, previous):
            shutil.rmtree(folder, ignore_errors=True)
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            progress = Progress(topic_id, previous)
        return folder, progress

    def keep(self, folder: Path, progress: Progress) -> None:
        """Write down what is copied, so that another run can continue there."""
        _write(folder / _PROGRESS, json.dumps(asdict(progress)))

    def finish(self, folder: Path, manifest: Manifest) -> Part:
        """Write the manifest and give the part its final name, as the last step."""
        text = json.dumps(asdict(manifest), indent=1, sort_keys=True)
        checksum = hashlib.sha256(text.encode()).hexdigest()
        _write(folder / _MANIFEST, f"{text}\n{checksum}\n")
        (folder / _PROGRESS).unlink(missing_ok=True)
        path = folder.with_name(folder.name.removesuffix(_UNFINISHED))
        folder.rename(path)
        _sync(path.parent)
        return Part(path, manifest, checksum)


def check_files(parts: list[Part]) -> Iterator[int]:
    """Read every file of the parts and yield the bytes read.

    Raises `Misconfigured` (`damaged_backup`), naming the file whose checksum is wrong.
    """
    for part in parts:
        for file in part.manifest.files():
            path = part.path / file.name
            if sha256_of(path) != file.sha256:
                raise damaged(path, "its checksum is wrong")
            yield file.size_bytes


def _name(number: int) -> str:
    return f"part-{number:04}"


def _read_part(path: Path) -> Part:
    file = path / _MANIFEST
    try:
        text, checksum, _ = file.read_text("utf-8").rsplit("\n", 2)
    except (OSError, ValueError):
        raise damaged(file, "it cannot be read") from None
    if hashlib.sha256(text.encode()).hexdigest() != checksum:
        raise damaged(file, "its checksum is wrong")
    try:
        fields: dict[str, Any] = json.loads(text)
        is_newer = fields["version"] > _VERSION  # which may state the formats elsewhere
        if is_newer or max(cut["format"] for cut in fields["cuts"]) > LATEST_FORMAT:
            raise Misconfigured(
                f"{path} was written by a later release",
                code="newer_backup",
                next_step="use the release that wrote it, or a later one",
            )
        return Part(path, _manifest(fields), checksum)
    except (TypeError, KeyError, ValueError):
        raise damaged(file, "it is not a manifest of this release") from None


def _manifest(fields: dict[str, Any]) -> Manifest:
    cuts = [PartitionCut(**one) for one in fields["cuts"]]
    history = [[BackupFile(**one) for one in some] for some in fields["history"]]
    others = {name: BackupFile(**fields[name]) for name in ("outcomes", "commands")}
    return Manifest(**fields | {"cuts": cuts, "history": history} | others)


def _read_progress(file: Path) -> Progress | None:
    try:
        fields = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    copied = {}
    for number, one in fields["copied"].items():
        files = [BackupFile(**file) for file in one["files"]]
        reached = PartitionCut(**one["reached"])
        copied[int(number)] = CopiedPartition(reached, files, one["skipped"])
    return Progress(fields["topic_id"], fields["previous"], copied)


def _write(path: Path, text: str) -> None:
    """Write a small file completely or not at all, readable only by its owner."""
    part = path.with_name(f"{path.name}.part")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as opened:
        opened.write(text.encode())
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
