"""Fetches Kafka Connect with Debezium's JDBC sink, once, through the ordinary Maven client.

Beside the servers in the cache of `scripts.stack.fetch`, but for the benchmark only: 80 MB.
"""

import hashlib
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from schemas.errors import Unavailable
from scripts.stack.fetch import find_maven, last_lines
from scripts.stack.places import cache_directory, locked, remove

_MOST_SECONDS = 900


@dataclass(frozen=True, slots=True)
class ConnectFiles:
    """Folders: the programs of Kafka Connect with the converter, and its plugins."""

    programs: Path
    plugins: Path


def fetch_connect() -> ConnectFiles:
    """Return the folders, fetched if they are not in the cache; safe to interrupt.

    Raises `Misconfigured` without Maven, `Unavailable` if it fails.
    """
    pom = resources.files("scripts.bench").joinpath("pom.xml").read_bytes()
    folder = cache_directory(None) / f"peers-{hashlib.sha256(pom).hexdigest()[:12]}"
    with locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            # Made aside and renamed at the end: the folder is complete or not there.
            partial = folder.with_suffix(".partial")
            remove(partial)
            partial.mkdir()
            (partial / "pom.xml").write_bytes(pom)
            _run_maven(partial, folder.with_suffix(".log"))
            partial.rename(folder)
    return ConnectFiles(folder / "connect", folder / "plugins")


def _run_maven(folder: Path, log_path: Path) -> None:
    command = [find_maven(), "-B", "package", f"-Dpeers.directory={folder}"]
    try:
        with log_path.open("wb") as log:
            subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=_MOST_SECONDS,
                check=True,
            )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise Unavailable(
            f"Maven could not fetch Kafka Connect; its log {log_path} ends with:\n"
            + last_lines(log_path, only=r"^\[ERROR\]"),
            code="fetch_failed",
            next_step="is there a network? Running the command again goes on where this ended",
        ) from None
