"""Runs Maven, which fetches the servers: the installed one, else Maven's own distribution."""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from runtime.progress import told_progress
from schemas.errors import Misconfigured, Unavailable
from scripts.stack.places import Report, cache_directory, filled_once

_VERSION = "3.9.16"
_SHA512 = (
    "831a8591fe20c8243b1dbe7d71e3244f31d1665b0804b2e825e38cbbe5ce0caf"
    "b8338851f90780735568773e0a6cd07bbec107cda0b896b008b861075358b6f6"
)
# Maven's own wrapper reads the address of another repository from the same variable.
_REPOSITORY_VARIABLE = "MVNW_REPOURL"
_CENTRAL = "https://repo.maven.apache.org/maven2"
_TIMEOUT_SECONDS = 60
# The system's certificates for Java on Debian and Fedora. The Java runtime of a wheel has its own
# instead, and does not know a company's certificate authority.
_SYSTEM_CERTIFICATES = (
    Path("/etc/ssl/certs/java/cacerts"),
    Path("/etc/pki/ca-trust/extracted/java/cacerts"),
)


def find_maven(report: Report = lambda _line: None) -> str:
    """Return the path of `mvn`: from PATH, else of Maven's distribution, fetched into the cache.

    Raises `Misconfigured` if that cannot be fetched or has another checksum.
    """
    installed = shutil.which("mvn")
    if installed:
        return installed
    folder = cache_directory(None) / f"apache-maven-{_VERSION}"
    if not folder.is_dir():
        report(f"there is no mvn on PATH: fetching Maven {_VERSION}")
    filled_once(folder, _fetch_distribution)
    return str(folder / folder.name / "bin" / "mvn")


def _fetch_distribution(folder: Path) -> None:
    repository = os.environ.get(_REPOSITORY_VARIABLE, _CENTRAL).rstrip("/")
    path = f"org/apache/maven/apache-maven/{_VERSION}/apache-maven-{_VERSION}-bin.tar.gz"
    url = f"{repository}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - https
            content = answer.read()
    except OSError as error:
        raise _not_fetched(f"cannot fetch {url}: {error}") from error
    if hashlib.sha512(content).hexdigest() != _SHA512:
        raise _not_fetched(f"{url} is not Maven {_VERSION}: its SHA-512 checksum differs")
    archive = folder / "maven.tar.gz"
    archive.write_bytes(content)
    with tarfile.open(archive) as tar:
        # Python before 3.11.4 has no filters; the checksum vouches for the archive.
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


def run_maven(
    maven: str,
    folder: Path,
    options: Sequence[str],
    *,
    log_path: Path,
    java_home: Path,
    total_megabytes: int,
) -> None:
    """Run the phase `package` of the pom.xml in `folder`, showing progress on stderr.

    Raises `Unavailable`, with the path and the last lines of its log, if Maven fails.
    """
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [maven, "-B", "package", *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(java_home),
            umask=0o022,
        )
    try:
        with told_progress(
            lambda _: f"fetched {_loaded_megabytes(log_path)} of about {total_megabytes} MB",
            lambda: _loaded_megabytes(log_path),
            total_megabytes,
            as_json=False,
        ) as tell:
            while process.poll() is None:
                if tell:
                    tell()
                time.sleep(0.5)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode != 0:
        raise Unavailable(
            f"Maven could not fetch the servers; its log {log_path} ends with:\n"
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
    """Return the size of the files that Maven has loaded, according to its log."""
    text = log_path.read_text(encoding="utf-8", errors="replace")
    loaded = re.findall(r"Downloaded from .*\(([\d.]+) (B|kB|MB|GB) at", text)
    return int(sum(float(number) * _UNITS[unit] for number, unit in loaded))


_STACK_FRAME = re.compile(r"\s+(at |\.\.\. \d+ more)")


def last_lines(path: Path, count: int = 12, *, only: str = "") -> str:
    """Return the last lines of a log, indented, without Java's stack frames.

    If any lines match `only`, the last of those.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "  (there is no log)"
    matching = [line for line in lines if only and re.search(only, line)]
    telling = [line for line in matching or lines if line.strip() and not _STACK_FRAME.match(line)]
    return "\n".join(f"  {line[:300]}" for line in telling[-count:]) or "  (empty)"
