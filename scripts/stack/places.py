"""The directories, ports and user of a local stack."""

import fcntl
import hashlib
import json
import os
import pwd
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.configuration.files import home, stack_directory, state_home
from schemas.errors import Misconfigured

DEFAULT_PORTS = {
    "kafka": 19092,
    "kafka-controller": 19093,
    "registry": 18081,
    "postgres": 15432,
    "elasticsearch": 19200,
    "elasticsearch-transport": 19300,
    "commands": 18082,
    "queries": 18083,
    "console": 18084,
}
# Of a stack with three brokers as well.
BROKER_PORTS = {
    "kafka-2": 19094,
    "kafka-2-controller": 19095,
    "kafka-3": 19096,
    "kafka-3-controller": 19097,
}
# Of a secure stack as well: operations over HTTP run beside the queries, with another login.
SECURE_PORTS = {"operations": 18085}
HOST = "127.0.0.1"

_UNUSABLE = re.compile(r"""[\x00-\x1f\x7f:;,#"'\\${}*?\[\]\udc80-\udcff]""")

# Called with a line for each step of a start.
Report = Callable[[str], None]

# Below the range of ports for outgoing connections (on Linux from 32768), so that none of those can
# take a port after we choose it and before the server binds it.
_FREE_PORTS = range(20_000, 32_000)
# As long as a server may take to start, on a slow machine.
_GIVEN_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The unprivileged user that runs the servers when we are root."""

    name: str
    uid: int
    gid: int


def named_directory(name: str | None) -> Path:
    """Return the folder of the stack `name` (default: as the settings say).

    Raises `Misconfigured` unless the name is a plain word: `down --wipe` deletes that folder. Also
    if the path has a character that the servers cannot cope with.
    """
    name = name or os.environ.get("ROLLBOOK_STACK") or "default"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise Misconfigured(
            f"a stack cannot be called {name!r}",
            code="bad_name",
            next_step="use at most 40 lower-case letters, digits and hyphens",
        )
    return _usable(stack_directory(name).absolute())


def _usable(path: Path) -> Path:
    """Return `path`. Raises `Misconfigured` if it cannot be written in a configuration file.

    The colon and the comma separate paths for Java and Kafka, the semicolon and the number sign
    begin comments for supervisord and fragments for Log4j, and the others are expanded or quote.
    """
    found = _UNUSABLE.search(str(path))
    if found:
        raise Misconfigured(
            f"the servers cannot use the folder {str(path)!r}: its path has the character "
            f"{found[0]!r}",
            code="bad_path",
            next_step="set ROLLBOOK_STACKS, or XDG_CACHE_HOME for downloads, to another folder",
        )
    return path


def server_user() -> ServerUser | None:
    """Return the user to switch to, or None to run servers as the current user.

    Elasticsearch and PostgreSQL refuse to run as root, so root runs all servers as `nobody`.
    """
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def as_user(user: ServerUser | None) -> dict[str, Any]:
    """Return the arguments that make `subprocess.run` run a command as `user`."""
    return {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}


def reachable(path: Path, user: ServerUser | None) -> bool:
    """Return whether `user` may read `path`, which includes entering every folder above it."""
    return _test("-r", path, user)


def _test(flag: str, path: Path, user: ServerUser | None) -> bool:
    return subprocess.run(["test", flag, path], check=False, **as_user(user)).returncode == 0


def cache_directory(user: ServerUser | None) -> Path:
    """Return the folder of downloads, which `down --wipe` keeps.

    It is `rollbook` in the XDG cache directory, or /var/cache/rollbook where `user` has no access
    to that: root's home is usually closed to other users.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "rollbook"
    return _usable(cache) if _open_to(cache, user) else Path("/var/cache/rollbook")


def data_directory(stack: Path, user: ServerUser | None) -> Path:
    """Return the data folder of the servers of the stack in folder `stack`.

    It is inside `stack`, or in /var/lib/rollbook where `user` has no access to that. Its name there
    contains a hash of the path: stacks of the same name in different homes must not share data.
    """
    if _open_to(stack, user):
        return stack / "data"
    digest = hashlib.sha256(str(stack.resolve()).encode()).hexdigest()[:10]
    return Path("/var/lib/rollbook") / f"{stack.name}-{digest}"


def _open_to(directory: Path, user: ServerUser | None) -> bool:
    existing = directory
    while not existing.exists():
        existing = existing.parent
    return user is None or _test("-x", existing, user)


def give(path: Path, user: ServerUser | None) -> None:
    """Make `user`, who runs the servers, the owner of `path` and the only one with access."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if user:
        os.chown(path, user.uid, user.gid)


def remove(path: Path) -> None:
    """Remove a folder and everything in it; nothing happens if it is missing."""
    shutil.rmtree(path, ignore_errors=True)


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` of 127.0.0.1 now."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def choose_ports(
    chosen: Mapping[str, int], *, free: bool, secure: bool = False, brokers: int = 1
) -> dict[str, int]:
    """Return a port for each name in `DEFAULT_PORTS`: the chosen, else a free or the default one.

    With `secure`, also for those in `SECURE_PORTS`; with several `brokers`, in `BROKER_PORTS`.

    Raises `Misconfigured` for an unknown server name or a port given to two servers.
    """
    defaults = DEFAULT_PORTS | (SECURE_PORTS if secure else {})
    defaults |= BROKER_PORTS if brokers > 1 else {}
    unknown = sorted(set(chosen) - set(defaults))
    if unknown:
        raise Misconfigured(
            f"cannot set the port of {unknown[0]}: there is no such server",
            code="bad_port",
            next_step=f"the names are {', '.join(defaults)}",
        )
    ports = dict(chosen)
    for name, default in defaults.items():
        if name not in ports:
            ports[name] = free_port(set(ports.values())) if free else default
    for name, port in ports.items():
        other = next((o for o, p in ports.items() if p == port and o != name), None)
        if other:
            raise Misconfigured(f"{name} and {other} cannot both use port {port}", code="bad_port")
    return {name: ports[name] for name in defaults}


def parse_ports(given: Iterable[str]) -> dict[str, int]:
    """Return `SERVER=N …` as a mapping. Raises `Misconfigured` for anything else."""
    ports = {}
    for text in given:
        server, _, number = text.partition("=")
        if not (number.isascii() and number.isdigit() and 0 < int(number) < 65_536):  # noqa: PLR2004
            raise Misconfigured(
                f"--port {text} is not SERVER=N with a port number",
                code="bad_port",
                next_step="for example --port kafka=29092",
            )
        ports[server] = int(number)
    return ports


def free_port(taken: set[int]) -> int:
    """Return a port of 127.0.0.1 that is free and not among `taken`.

    Nor was it given to any other caller of this user in the last minutes: two stacks that start at
    the same moment would choose the same one, because neither listens yet.
    """
    path = state_home() / "ports.json"
    with locked(path.with_suffix(".lock")):
        given = _lately_given(path)
        for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
            if port not in taken and str(port) not in given and is_free(port):
                path.write_text(json.dumps(given | {str(port): time.time()}), encoding="utf-8")
                return port
    raise Misconfigured("there is no free port", code="port_taken")


def _lately_given(path: Path) -> dict[str, float]:
    """Return when each port was given; if a killed process has left half a file, none is known."""
    try:
        given: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    now = time.time()
    return {port: at for port, at in given.items() if 0 <= now - at < _GIVEN_SECONDS}


def require_free(ports: Mapping[str, int]) -> None:
    """Raise `Misconfigured`, naming the port and its server, if one of `ports` is in use."""
    for name, port in ports.items():
        if not is_free(port):
            raise Misconfigured(
                f"port {port} of {HOST}, needed by {name}, is in use by another process",
                code="port_taken",
                next_step=f"choose another with --port {name}=N, or all with --free-ports; "
                f"`lsof -i :{port}` names the process",
            )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`; blocks while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def filled_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return `folder`, which `fill` has filled: now, or in an earlier call.

    `fill` gets a temporary folder that is renamed at the end, so `folder` is never incomplete, even
    if the process is killed. Every user may read it. Blocks while another process fills it.
    """
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial")
            remove(partial)
            partial.mkdir()
            for path in (partial, partial.parent):
                path.chmod(0o755)
            fill(partial)
            partial.rename(folder)
    return folder
