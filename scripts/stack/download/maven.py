"""Fetches files with Maven into the cache, each with a checksum that is known or published.

Where Maven is missing, its own distribution is fetched first.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from runtime.command_line.progress import progress_reporter
from schemas.errors import Misconfigured, Unavailable
from scripts.stack.log_end import last_lines
from scripts.stack.places import Report, ServerUser, cache_directory, filled_once, remove

_MAVEN_VERSION = "3.9.16"
_MAVEN_SHA512 = (
    "831a8591fe20c8243b1dbe7d71e3244f31d1665b0804b2e825e38cbbe5ce0caf"
    "b8338851f90780735568773e0a6cd07bbec107cda0b896b008b861075358b6f6"
)
# Maven's own wrapper reads the address of another repository from the same variable.
_REPOSITORY_VARIABLE = "MVNW_REPOURL"
_CENTRAL = "https://repo.maven.apache.org/maven2"
_TIMEOUT_SECONDS = 60
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"  # as in the files for Maven
# The system's certificates for Java on Debian and Fedora. The Java runtime of a wheel has its own
# instead, and lacks a company's certificate authority.
_SYSTEM_CERTIFICATES = (
    Path("/etc/ssl/certs/java/cacerts"),
    Path("/etc/pki/ca-trust/extracted/java/cacerts"),
)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A file that not every mirror of Maven Central has a checksum for, and its checksum."""

    coordinates: str  # group:artifact:version:type
    sha512: str


def find_maven(report: Report = lambda _line: None) -> str:
    """Return the path of `mvn`: from PATH, else of Maven's distribution, fetched into the cache.

    Raises `Misconfigured` if that cannot be fetched or has another checksum.
    """
    installed = shutil.which("mvn")
    if installed:
        return installed
    folder = cache_directory(None) / f"apache-maven-{_MAVEN_VERSION}"
    if not folder.is_dir():
        report(f"there is no mvn on PATH: fetching Maven {_MAVEN_VERSION}")
    filled_once(folder, _fetch_distribution)
    return str(folder / folder.name / "bin" / "mvn")


def _fetch_distribution(folder: Path) -> None:
    repository = os.environ.get(_REPOSITORY_VARIABLE, _CENTRAL).rstrip("/")
    file = f"apache-maven-{_MAVEN_VERSION}-bin.tar.gz"
    url = f"{repository}/org/apache/maven/apache-maven/{_MAVEN_VERSION}/{file}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - https
            content = answer.read()
    except OSError as error:
        raise _not_fetched(f"cannot fetch {url}: {error}") from error
    if hashlib.sha512(content).hexdigest() != _MAVEN_SHA512:
        raise _not_fetched(f"{url} is not Maven {_MAVEN_VERSION}: its SHA-512 checksum differs")
    archive = folder / "maven.tar.gz"
    archive.write_bytes(content)
    with tarfile.open(archive) as tar:
        # Python before 3.11.4 has no filters; the archive is trusted because of its checksum.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)  # noqa: S202
    archive.unlink()


def _not_fetched(message: str) -> Misconfigured:
    return Misconfigured(
        message,
        code="no_maven",
        next_step="install Maven (the package is called maven), name a mirror of Maven Central in "
        f"{_REPOSITORY_VARIABLE}, or use --docker",
    )


def maven_folder(name: str, pom: bytes, user: ServerUser | None) -> Path:
    """Return the folder in the cache for exactly the versions that `pom` names.

    It exists once `fetch_with_maven` has filled it.
    """
    return cache_directory(user) / f"{name}-{hashlib.sha256(pom).hexdigest()[:12]}"


def fetch_with_maven(
    name: str,
    pom: bytes,
    user: ServerUser | None,
    java_home: Path,
    *,
    megabytes: tuple[int, int],
    pinned: Pinned | None = None,
    report: Report = lambda _line: None,
) -> Path:
    """Return the folder that `pom` fills, whose name it gets as the property `NAME.directory`.

    Fetched once, into the cache; safe to interrupt. `megabytes` are its sizes, downloaded and
    unpacked. Every file must have the checksum that the repository gives, `pinned` its own.
    Raises `Unavailable` or `Misconfigured` as `fetch` does.
    """
    folder = maven_folder(name, pom, user)
    downloaded, unpacked = megabytes

    def fill(partial: Path) -> None:
        maven = find_maven(report)
        report(
            f"fetching the {name} with {maven}, once: about {downloaded} MB into Maven's own "
            f"repository, unpacked {unpacked} MB in {folder.parent}"
        )
        (partial / "pom.xml").write_bytes(pom)

        def run(*arguments: str) -> None:
            command = [maven, "-B", *arguments]
            _run_maven(command, partial, folder.with_suffix(".log"), java_home, downloaded)

        if pinned is not None:
            # The plugin first, so that nothing but the pinned file is fetched without a checksum.
            run("--strict-checksums", f"{_PLUGIN}:help")
            folder_of_copy = partial / "pinned"
            to_copy = f"-Dartifact={pinned.coordinates}", f"-DoutputDirectory={folder_of_copy}"
            run("--lax-checksums", f"{_PLUGIN}:copy", *to_copy)
            check_pinned(pinned, folder_of_copy)
        # By default Maven only warns of a file with another checksum.
        run("--strict-checksums", "package", f"-D{name}.directory={partial}")
        report("fetched")

    return filled_once(folder, fill)


def check_pinned(pinned: Pinned, folder: Path) -> None:
    """Remove a folder that holds just Maven's copy of a file.

    Raises `Misconfigured` (`wrong_checksum`) if it is another file.
    """
    (copy,) = folder.iterdir()
    with copy.open("rb") as opened:
        same = hashlib.file_digest(opened, "sha512").hexdigest() == pinned.sha512
    remove(folder)
    if not same:
        raise Misconfigured(
            f"Maven's copy of {pinned.coordinates} has another SHA-512 checksum",
            code="wrong_checksum",
            next_step="delete it from Maven's own repository (~/.m2), check the mirrors in "
            "~/.m2/settings.xml, and run the command again",
        )


def _run_maven(
    command: list[str], folder: Path, log_path: Path, java_home: Path, total_megabytes: int
) -> None:
    """Run Maven in `folder`, showing progress on stderr; raise `Unavailable` if it fails."""
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(java_home),
            umask=0o022,
        )
    try:
        with progress_reporter(
            lambda _: f"fetched {_loaded_megabytes(log_path)} of about {total_megabytes} MB",
            lambda: _loaded_megabytes(log_path),
            total_megabytes,
            as_json=False,
        ) as show_progress:
            while process.poll() is None:
                if show_progress:
                    show_progress()
                time.sleep(0.5)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode != 0:
        raise Unavailable(
            f"Maven failed; its log {log_path} ends with:\n"
            + last_lines(log_path, only=r"^\[ERROR\]"),
            code="fetch_failed",
            next_step="check the network, mirrors and proxies (~/.m2/settings.xml) and Java's "
            "certificates (MAVEN_OPTS), then run the command again: it resumes",
        )


def _environment(java_home: Path) -> dict[str, str]:
    """Return the environment of Maven: the user's own if it has a Java, else one with ours."""
    named = os.environ.get("JAVA_HOME")
    if (Path(named) / "bin" / "java").is_file() if named else shutil.which("java"):
        return dict(os.environ)
    options = os.environ.get("MAVEN_OPTS", "")
    trusted = next((path for path in _SYSTEM_CERTIFICATES if path.exists()), None)
    if trusted and "trustStore" not in options:
        options = f"{options} -Djavax.net.ssl.trustStore={trusted}"
    return {**os.environ, "JAVA_HOME": str(java_home), "MAVEN_OPTS": options}


_UNITS = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


def _loaded_megabytes(log_path: Path) -> int:
    """Return the size of the files that Maven has downloaded, according to its log."""
    text = log_path.read_text(encoding="utf-8", errors="replace")
    loaded = re.findall(r"Downloaded from .*\(([\d.]+) (B|kB|MB|GB) at", text)
    return int(sum(float(number) * _UNITS[unit] for number, unit in loaded))
