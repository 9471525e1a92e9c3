"""Chooses between native processes and containers, and starts the stack."""

from runtime.terminal import say
from schemas.errors import Misconfigured
from scripts.stack import docker, extra
from scripts.stack.docker import DockerStack
from scripts.stack.local import LocalStack
from scripts.stack.places import named_directory
from scripts.stack.record import Started, read_record


def choose_mode(name: str | None, wanted: str | None) -> str:
    """Return native or docker: as wanted, as the stack runs now, or as this machine allows.

    Raises `Misconfigured` if neither can be used, or the stack runs in the other mode.
    """
    record = read_record(named_directory(name))
    if record and (named_directory(name) / "rollbook.toml").exists():
        if wanted and wanted != record.mode:
            raise Misconfigured(
                f"the stack is up already, in {record.mode} mode",
                code="other_mode",
                next_step="stop it first: `rollbook stack down`",
            )
        return record.mode
    if wanted:
        return wanted
    if extra.is_installed():
        say("starting a native stack (--docker for containers)")
        return "native"
    obstacle = extra.missing("the native stack")
    docker_problem = docker.problem()
    if docker_problem:
        raise Misconfigured(
            f"no stack can run here: {obstacle}; the Docker stack cannot be used: {docker_problem}",
            code="no_stack",
            next_step=f"{extra.INSTALL}; or start Docker",
        )
    say(f"starting a Docker stack: {obstacle}")
    return "docker"


def bring_up(
    mode: str, name: str | None, ports: dict[str, int], *, free_ports: bool, whole_system: bool
) -> Started:
    """Start the servers in `mode`, with `whole_system` our services too; report on stderr."""
    if mode == "docker":
        stack = DockerStack(name)
        return stack.up(ports=ports, free_ports=free_ports, whole_system=whole_system)
    extra.require("the native stack")
    native = LocalStack(name)
    started = native.up(ports=ports, free_ports=free_ports, report=say)
    if whole_system:
        from scripts.stack.system import start_services

        start_services(native, say)
    return started
