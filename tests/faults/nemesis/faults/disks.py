"""Disks that are full: each server's data is moved to a small file system, which is then filled.

Mounting a file system needs a right that not every machine gives, so these faults are chosen only
if they are asked for.
"""

import errno
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from tests.faults.nemesis.faults.common import Broken, Fault, wait
from tests.faults.nemesis.system import System
from tests.started.processes import eventually

# Room for what the server writes before the disk is full, and again when there is room.
_SPARE_BYTES: Final = 256 * 1024 * 1024
_BLOCK_BYTES: Final = 1024 * 1024
_COMPLAINT: Final = os.strerror(errno.ENOSPC)


@contextmanager
def _full(name: str, system: System, _target: str, _chance: Random) -> Broken:
    """Fill the disk of a server; when the fault ends there is room again, and it is restarted."""
    servers = system.servers
    servers.crash(name)
    try:
        with _small_disk(servers.folder(name)) as disk:
            try:
                servers.bring_back(name)
                log, before = servers.log(name), _complaints(servers.log(name))
                ballast = disk / "ballast"
                _fill(ballast)
                if wait(lambda: _complaints(log) > before):
                    system.happened[f"disk of {name} full"] += 1
                yield
                ballast.unlink()
            finally:
                servers.crash(name)
    finally:
        servers.bring_back(name)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Keep what is in a folder on a small file system inside the `with` block."""
    used = subprocess.run(
        ["du", "-s", "-B1", folder], capture_output=True, text=True, check=True
    ).stdout
    size = int(used.split()[0]) + _SPARE_BYTES
    with TemporaryDirectory(dir=folder.parent) as place:
        disk = Path(place)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "small", disk], check=True)
        try:
            _copy(folder, disk)
            subprocess.run(["mount", "--bind", disk, folder], check=True)
            try:
                yield folder
            finally:
                _unmount(folder)
            subprocess.run(["find", folder, "-mindepth", "1", "-delete"], check=True)
            _copy(disk, folder)
        finally:
            _unmount(disk)


def _unmount(place: Path) -> None:
    """Unmount a file system, which what was killed may hold open for a moment longer."""

    def is_unmounted() -> bool:
        return subprocess.run(["umount", place], capture_output=True, check=False).returncode == 0

    eventually(is_unmounted, 60, f"{place} is unmounted")


def _copy(source: Path, target: Path) -> None:
    """Copy what is in a folder, and who may read it."""
    subprocess.run(["cp", "--archive", f"{source}/.", target], check=True)


def _fill(file: Path) -> None:
    with file.open("wb") as opened:
        try:
            while True:
                opened.write(bytes(_BLOCK_BYTES))
                opened.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def _complaints(log: Path) -> int:
    return log.read_text("utf-8", errors="replace").count(_COMPLAINT)


DISK_FAULTS: Final[Mapping[str, Fault]] = {
    "broker's disk full": partial(_full, "kafka"),
    "PostgreSQL's disk full": partial(_full, "postgres"),
    "Elasticsearch's disk full": partial(_full, "elasticsearch"),
}
