"""Finds Debian's monitoring programs: on PATH, or unpacked from their packages into the cache.

`apt-get download` needs no root and checks the package against Debian's signatures. It works
wherever apt's lists are up to date; elsewhere the message says what to install.
"""

import shutil
import subprocess
from pathlib import Path

from schemas.errors import Misconfigured
from scripts.stack.places import Report, cache_directory, filled_once

# Program → the package that contains it.
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-node-exporter": "prometheus-node-exporter",
}
# Without a network, apt would try for minutes.
_APT_OPTIONS = ("-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=20")
_FETCH_SECONDS = 120


def find_program(name: str, report: Report = lambda _line: None) -> Path:
    """Return the path of a program of `PACKAGES`, fetched into the cache where PATH lacks it.

    Raises `Misconfigured` (`no_prometheus`), with what to install, if it cannot be fetched.
    """
    installed = shutil.which(name)
    if installed:
        return Path(installed)
    package = PACKAGES[name]
    folder = cache_directory(None) / f"debian-{package}"

    def fill(partial: Path) -> None:
        report(f"there is no {name} on PATH: unpacking Debian's package {package} in {folder}")
        _run(["apt-get", *_APT_OPTIONS, "download", package], partial, name)
        (archive,) = partial.glob("*.deb")
        _run(["dpkg-deb", "--extract", str(archive), str(partial)], partial, name)
        archive.unlink()

    return filled_once(folder, fill) / "usr" / "bin" / name


def _run(command: list[str], folder: Path, name: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_FETCH_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _missing(name, f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise _missing(name, (done.stderr or done.stdout).strip()[-300:])


def _missing(name: str, why: str) -> Misconfigured:
    package = PACKAGES[name]
    return Misconfigured(
        f"there is no {name} on PATH, and Debian's package cannot be fetched: {why}",
        code="no_prometheus",
        next_step=f"install it: `apt-get update && apt-get install {package}`, or put a release "
        f"of {name} on PATH",
    )
