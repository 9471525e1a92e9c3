"""All of rollbook on one machine: the servers, native or in Docker, and our services on them."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from runtime import extras
from runtime.settings import Settings, load_settings
from runtime.terminal import say
from schemas.errors import Misconfigured, RollbookError, Unavailable
from scripts.stack import docker
from scripts.stack.docker import DockerStack
from scripts.stack.fetch import last_lines
from scripts.stack.local import LocalStack
from scripts.stack.places import named_directory
from scripts.stack.record import Started, read_record

SERVICES = {
    "handler": ["handler", "run", "--instance", "local-1"],
    "projector-postgres": ["projector", "run", "postgres"],
    "projector-history": ["projector", "run", "history"],
    "projector-elasticsearch": ["projector", "run", "elasticsearch"],
}

# A misconfigured service reports its error and ends within this time.
_SETTLED_SECONDS = 2.0


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
    if extras.is_installed("local"):
        say("starting a native stack (--docker for containers)")
        return "native"
    obstacle = extras.local_missing("the native stack")
    docker_problem = docker.problem()
    if docker_problem:
        raise Misconfigured(
            f"no stack can run here: {obstacle}; the Docker stack cannot be used: {docker_problem}",
            code="no_stack",
            next_step=f"{extras.INSTALL}; or start Docker",
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
    extras.require_local("the native stack")
    native = LocalStack(name)
    started = native.up(ports=ports, free_ports=free_ports, report=say)
    if whole_system:
        start_services(native)
    return started


def start_services(stack: LocalStack) -> None:
    """Create the topics, then run handler and projectors under the stack's supervisor.

    Services get this process's `ROLLBOOK_*` variables, the prefix among them. Raises `Unavailable`,
    with the last lines of its log, if a service ends at once.
    """
    from runtime.registry import Registry
    from runtime.topic_admin import ensure_topics
    from runtime.topic_drift import refuse_lossy_drift

    settings = _settings(stack)
    reports = ensure_topics(settings)
    for report in reports:
        for line in report.differences():
            say(f"drift: {line}")
    refuse_lossy_drift(reports, settings)
    Registry(settings).ensure()
    say("topics and schemas exist")
    beside = Path(sys.executable).with_name("rollbook")
    rollbook = str(beside) if beside.exists() else shutil.which("rollbook") or "rollbook"
    for name, arguments in SERVICES.items():
        stack.add_service(name, [rollbook, *arguments])
    until = time.monotonic() + _SETTLED_SECONDS
    while time.monotonic() < until:
        time.sleep(0.1)
        for service in stack.services().values():
            if service.state == "exited":
                raise Unavailable(
                    f"{service.name} ended; its log {service.log} ends with:\n"
                    + last_lines(Path(service.log)),
                    code="service_failed",
                    next_step=f"fix the cause, then `rollbook up`; the whole log: {service.log}",
                )
    say(f"running {', '.join(SERVICES)}")


def projector_status(stack: LocalStack) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of `rollbook projector status --json`, and why some are missing, or ''."""
    from projectors.versions.status import read_status

    try:
        found = read_status(_settings(stack))
    except RollbookError as error:
        return [], str(error)
    # Two read models on one server report the same error.
    return found.as_rows(), "; ".join({str(error): "" for error in found.unavailable.values()})


def _settings(stack: LocalStack) -> Settings:
    return load_settings(config=str(stack.config_file)).settings
