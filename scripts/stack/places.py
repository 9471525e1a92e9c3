"""Where a local stack keeps things, on which ports, and as which user its servers run."""

import fcntl
import hashlib
import os
import pwd
import random
import re
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.settings import stack_directory
from schemas.errors import Misconfigured

DEFAULT_PORTS = {
    "kafka": 19092,
    "kafka-controller": 19093,
    "registry": 18081,
    "postgres": 15432,
    "elasticsearch": 19200,
    "elasticsearch-transport": 19300,
}
HOST = "127.0.0.1"

# Chosen below the range that Linux hands out for outgoing connections (from 32768), so that
# none of those takes a port between our choosing it and the server's binding it.
_FREE_PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The unprivileged user that servers run as when we are root."""

    name: str
    uid: int
    gid: int


def named_directory(name: str | None) -> Path:
    """Return the folder of the stack `name` (default: as the settings say).

    Raises `Misconfigured` unless the name is one plain word: `down --wipe` deletes that folder.
    """
    name = name or os.environ.get("ROLLBOOK_STACK") or "default"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise Misconfigured(
            f"a stack cannot be called {name!r}",
            code="bad_name",
            next_step="use at most 40 lower-case letters, digits and hyphens",
        )
    return stack_directory(name).absolute()


def server_user() -> ServerUser | None:
    """Return the user to drop to, or None to run servers as ourselves.

    Elasticsearch and PostgreSQL refuse to run as root, so root runs all servers as `nobody`.
    """
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def reachable(path: Path, user: ServerUser | None) -> bool:
    """Say whether `user` may read `path`, which means entering every folder above it."""
    if user is None:
        return os.access(path, os.R_OK)
    path = path.resolve()
    return all(_permits(folder, user, execute=True) for folder in path.parents) and _permits(
        path, user, execute=False
    )


def _permits(path: Path, user: ServerUser, *, execute: bool) -> bool:
    try:
        status = path.stat()
    except OSError:
        return not execute  # a path that is not made yet is ours to make; its parents count
    bit = stat.S_IXOTH if execute else stat.S_IROTH
    if status.st_uid == user.uid:
        bit <<= 6
    elif status.st_gid == user.gid:
        bit <<= 3
    return bool(status.st_mode & bit)


def cache_directory(user: ServerUser | None) -> Path:
    """Return where downloaded servers stay, over `down` and `down --wipe`.

    The XDG cache directory's `rollbook`; but root's home is usually closed to the user the servers
    run as, so root keeps them in /var/cache then.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollbook"
    return cache if _open_to(cache, user) else Path("/var/cache/rollbook")


def data_directory(stack: Path, user: ServerUser | None) -> Path:
    """Return where the servers of the stack in folder `stack` keep their data.

    Inside the folder; for root with a closed home in /var/lib, under a name made from the folder's
    path, so that stacks of the same name in different homes stay apart.
    """
    if _open_to(stack, user):
        return stack / "data"
    digest = hashlib.sha256(str(stack.resolve()).encode()).hexdigest()[:10]
    return Path("/var/lib/rollbook") / f"{stack.name}-{digest}"


def _open_to(directory: Path, user: ServerUser | None) -> bool:
    existing = directory
    while not existing.exists():
        existing = existing.parent
    return user is None or reachable(existing / "anything", user)


def make_directory(path: Path, user: ServerUser | None) -> Path:
    """Make `path`, closed to others, owned by the user that servers run as."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    if user:
        os.chown(path, user.uid, user.gid)
    return path


def give(path: Path, user: ServerUser | None) -> None:
    """Let only the servers' user read the file `path`."""
    path.chmod(0o600)
    if user:
        os.chown(path, user.uid, user.gid)


def remove(path: Path) -> None:
    """Remove a folder and all in it, if it is there."""
    shutil.rmtree(path, ignore_errors=True)


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connection is just closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose_ports(chosen: Mapping[str, int], *, free: bool) -> dict[str, int]:
    """Return a port for each name of `DEFAULT_PORTS`: as `chosen`, else a free one or the default.

    Raises `Misconfigured` for an unknown server name or a port given to two servers.
    """
    unknown = sorted(set(chosen) - set(DEFAULT_PORTS))
    if unknown:
        raise Misconfigured(
            f"there is no server {unknown[0]} to give a port to",
            code="bad_port",
            next_step=f"the names are {', '.join(DEFAULT_PORTS)}",
        )
    ports = dict(chosen)
    for name, default in DEFAULT_PORTS.items():
        if name not in ports:
            ports[name] = free_port(set(ports.values())) if free else default
    for name, port in ports.items():
        other = next((o for o, p in ports.items() if p == port and o != name), None)
        if other:
            raise Misconfigured(f"port {port} is given to both {name} and {other}", code="bad_port")
    return {name: ports[name] for name in DEFAULT_PORTS}


def free_port(taken: set[int]) -> int:
    """Return a port of 127.0.0.1 that is free and not among `taken`."""
    for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
        if port not in taken and is_free(port):
            return port
    raise Misconfigured("there is no free port", code="port_taken")


def require_free(ports: Mapping[str, int]) -> None:
    """Raise `Misconfigured` naming the first port that is taken, and how to choose another."""
    for name, port in ports.items():
        if not is_free(port):
            raise Misconfigured(
                f"port {port} of {HOST}, wanted for {name}, is taken by another process",
                code="port_taken",
                next_step=f"choose another with --port {name}=N, or let --free-ports choose all; "
                f"`lsof -i :{port}` names the process",
            )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` while within, waiting for whoever holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
