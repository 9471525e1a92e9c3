"""Finds a Java that can run the servers: the first on PATH is often too old for Elasticsearch."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import Misconfigured
from scripts.stack.places import ServerUser, reachable

OLDEST = 21
NEEDED_MODULE = "jdk.incubator.vector"  # Elasticsearch's launcher asks for it

# Where distributions and the usual version managers keep JDKs, below the home directory and /.
_MANAGED = [
    ".sdkman/candidates/java/*",
    ".asdf/installs/java/*",
    ".local/share/mise/installs/java/*",
    ".jenv/versions/*",
    ".jabba/jdk/*",
    ".jdks/*",
    "Library/Java/JavaVirtualMachines/*/Contents/Home",
]
_INSTALLED = [
    "usr/lib/jvm/*",
    "usr/java/*",
    "opt/java/*",
    "opt/jdk*",
    "opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "Library/Java/JavaVirtualMachines/*/Contents/Home",
]


@dataclass(frozen=True, slots=True)
class Jdk:
    """A Java installation and where it was found."""

    home: Path
    version: int
    found_in: str


@dataclass(frozen=True, slots=True)
class JdkChoice:
    """The Java to use, and why better-known ones were passed over."""

    jdk: Jdk
    passed_over: list[str]


def choose_jdk(user: ServerUser | None) -> JdkChoice:
    """Return the first Java that can run the servers as `user`.

    JAVA_HOME comes first, then PATH, then all others from the newest to the oldest. Raises
    `Misconfigured`, saying what was looked at, if there is none.
    """
    passed_over: list[str] = []
    for home, found_in in candidates():
        version, problem = examine(home, user)
        if not problem:
            return JdkChoice(Jdk(home, version, found_in), passed_over)
        passed_over.append(f"{found_in} {home}: {problem}")
    looked = "; ".join(passed_over) or "none is installed"
    raise Misconfigured(
        f"the native stack needs a JDK {OLDEST} or newer with {NEEDED_MODULE} ({looked})",
        code="no_jdk",
        next_step=f"install a JDK {OLDEST} or newer and set JAVA_HOME to it, or use --docker",
    )


def candidates() -> Iterator[tuple[Path, str]]:
    """Yield each Java home once, the one the user named first."""
    seen: set[Path] = set()
    for home, found_in in _all_candidates():
        resolved = home.resolve()
        if resolved not in seen:
            seen.add(resolved)
            yield resolved, found_in


def _all_candidates() -> Iterator[tuple[Path, str]]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"]), "JAVA_HOME"
    java = shutil.which("java")
    if java:
        yield Path(java).resolve().parent.parent, "PATH"
    installed = [home for pattern in _INSTALLED for home in Path("/").glob(pattern)]
    installed += [home for pattern in _MANAGED for home in Path.home().glob(pattern)]
    versions = {home: _named_version(home) for home in installed if (home / "bin/java").exists()}
    for home in sorted(versions, key=lambda home: versions[home], reverse=True):
        yield home, str(home.parent)


def _named_version(home: Path) -> int:
    """Return the version that the installation's `release` file tells, or 0."""
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    match = re.search(r'^JAVA_VERSION="(\d+)', release, re.MULTILINE)
    return int(match[1]) if match else 0


def examine(home: Path, user: ServerUser | None) -> tuple[int, str]:
    """Return the Java version in `home` and what keeps it from running the servers, or ''."""
    java = home / "bin" / "java"
    if not java.is_file():
        return 0, "there is no bin/java"
    if not reachable(java, user):
        return 0, f"user {user.name if user else 'this user'} may not read it"
    try:
        listed = subprocess.run(
            [java, "--list-modules"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return 0, f"it does not run: {error}"
    return judge(listed)


def judge(listed_modules: str) -> tuple[int, str]:
    """Return the same, given what `java --list-modules` printed."""
    match = re.search(r"^java\.base@(\d+)", listed_modules, re.MULTILINE)
    if not match:
        return 0, "it does not run, or is older than version 9"
    version = int(match[1])
    if version < OLDEST:
        return version, f"version {version} is too old"
    if f"{NEEDED_MODULE}@" not in listed_modules:
        return version, f"it lacks {NEEDED_MODULE}"
    return version, ""
