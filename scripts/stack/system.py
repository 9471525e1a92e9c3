"""All of rollbook on one machine: the servers, native or in Docker, and our services on them."""

import shutil
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.command_line import extras
from runtime.command_line.terminal import say
from runtime.settings import Settings, load_settings
from schemas.errors import Misconfigured, RollbookError, Unavailable
from schemas.formats import FIRST_FORMAT, LATEST_FORMAT
from scripts.serve import TABLE
from scripts.stack import docker
from scripts.stack.access import is_secure, operator_settings
from scripts.stack.docker import DockerStack
from scripts.stack.log_end import last_lines
from scripts.stack.native.local import LocalStack
from scripts.stack.observe.prometheus import observe, require_observable, write_targets
from scripts.stack.places import DEFAULT_PORTS, HOST, SECURE_PORTS, named_directory
from scripts.stack.record import ProcessStatus, StackRecord, Started, address, read_record

if TYPE_CHECKING:
    from projectors.versions.status import ProjectorsStatus

SERVICES = {
    "handler": ["handler", "run", "--instance", "local-1"],
    "projector-postgres": ["projector", "run", "postgres"],
    "projector-history": ["projector", "run", "history"],
    "projector-elasticsearch": ["projector", "run", "elasticsearch"],
    # These listen on the port that the stack has for their name.
    **{name: ["serve", name] for name in TABLE},
    "queries": ["serve", "queries", "--operations"],
}

# With roles, queries only read, and operations need the operator's login.
SECURE_SERVICES = SERVICES | {
    "queries": ["serve", "queries"],
    "operations": ["serve", "queries", "--operations"],
}

# A misconfigured service reports its error and ends within this time.
_SETTLED_SECONDS = 2.0
_LISTENING_SECONDS = 60.0
# A handler answers once it has its partitions and has restored them.
_DECIDING_SECONDS = 30.0


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
    mode: str,
    name: str | None,
    ports: dict[str, int],
    *,
    free_ports: bool,
    whole_system: bool,
    observed: bool = False,
    secure: bool = False,
    brokers: int | None = None,
) -> Started:
    """Start the servers in `mode`, with `whole_system` our services too; report on stderr.

    With `observed`, Prometheus as well; in containers also Grafana.
    """
    if mode == "docker":
        if brokers not in {None, 1}:
            raise Misconfigured(
                "--brokers is for native stacks",
                code="other_mode",
                next_step="use --native; deploy/compose/brokers.yml says how to run containers",
            )
        stack = DockerStack(name)
        started = stack.up(
            ports=ports,
            free_ports=free_ports,
            whole_system=whole_system,
            observed=observed,
            secure=secure,
        )
    else:
        extras.require_local("the native stack")
        native = LocalStack(name)
        wanted = dict(ports)
        port = wanted.pop("prometheus", None) if observed else None
        if observed:
            require_observable(native, port=port, free_ports=free_ports, report=say)
        started = native.up(
            ports=wanted, free_ports=free_ports, secure=secure, brokers=brokers, report=say
        )
        if observed:
            services = services_of(native.directory)
            chosen = observe(native, services, port=port, free_ports=free_ports, report=say)
            started = replace(started, ports={**started.ports, "prometheus": chosen})
        if whole_system:
            start_services(native)
    if whole_system:
        _finalise_empty_log(operator_settings(named_directory(name)))
    return started


def start_services(stack: LocalStack) -> None:
    """Create the topics, then run our services under the stack's supervisor.

    Returns once those over HTTP listen. Services get this process's `ROLLBOOK_*` variables, the
    prefix among them. Raises `Unavailable`, with the last lines of its log, if a service ends at
    once or does not listen within a minute.
    """
    files = _role_files(stack)
    settings = operator_settings(stack.directory)
    _deploy(settings, read_models=bool(files))
    beside = Path(sys.executable).with_name("rollbook")
    rollbook = str(beside) if beside.exists() else shutil.which("rollbook") or "rollbook"
    record = read_record(stack.directory) or StackRecord("native", {})
    services = services_of(stack.directory)
    known = DEFAULT_PORTS | SECURE_PORTS | record.ports
    ports = {name: known[name] for name in services if name in {*TABLE, *SECURE_PORTS}}
    urls = _urls_for_console(ports, secure=bool(files))
    metrics = {name: port for name, port in record.metrics.items() if name in services}
    if metrics:
        write_targets(stack.directory, metrics)
    for name, arguments in services.items():
        listen = ["--listen", f"{HOST}:{ports[name]}"] if name in ports else []
        # This shell's value would give all of them one port.
        measured = f"{HOST}:{metrics[name]}" if name in metrics else ""
        environment = {"ROLLBOOK_METRICS_LISTEN": measured} | (urls if name == "console" else {})
        if files:
            environment["ROLLBOOK_CONFIG"] = str(files[name])
        stack.add_service(name, [rollbook, *arguments, *listen], environment=environment)
    _wait_for_services(stack, ports)
    say(f"running {', '.join(services)}")


def services_of(stack: Path) -> dict[str, list[str]]:
    """Return the services of the stack in folder `stack`, each with the arguments of `rollbook`."""
    return SECURE_SERVICES if is_secure(stack) else SERVICES


def _urls_for_console(ports: Mapping[str, int], *, secure: bool) -> dict[str, str]:
    """Return the variables that name the services the console calls; it shows operations too."""
    queries = "operations" if secure else "queries"
    return {
        "ROLLBOOK_HTTP_COMMANDS_URL": address("commands", ports["commands"], secure=secure),
        "ROLLBOOK_HTTP_QUERIES_URL": address(queries, ports[queries], secure=secure),
    }


def _role_files(stack: LocalStack) -> dict[str, Path]:
    """Return service → the file of its role's settings; nothing for a plain stack."""
    if not is_secure(stack.directory):
        return {}
    from scripts.stack.secure.services import service_files

    settings = load_settings(config=str(stack.config_file)).settings
    return service_files(stack.directory, settings, services_of(stack.directory))


def _deploy(settings: Settings, *, read_models: bool) -> None:
    """Create topics and schemas, and with `read_models` what projectors may not create."""
    from runtime.kafka.registry import Registry
    from runtime.topics.admin import ensure_topics
    from runtime.topics.drift import refuse_lossy_drift

    reports = ensure_topics(settings)
    for report in reports:
        for line in report.differences():
            say(f"drift: {line}")
    refuse_lossy_drift(reports, settings)
    Registry(settings).ensure()
    say("topics and schemas exist")
    if read_models:
        from scripts.stack.secure.services import prepare_read_models

        prepare_read_models(settings)


def _finalise_empty_log(settings: Settings) -> None:
    """Have a registry without events begin in the latest format of the log.

    No earlier release has ever run it, so nobody needs the step back that finalising ends. If a
    handler does not answer in time, the log keeps its format: that only leaves out newer fields.
    """
    from producers.client.upgrade import READY, UpgradeClient
    from runtime.topics.log_ranges import log_ranges
    from schemas.topics import EVENTS

    if any(
        found.end for found in log_ranges(settings, EVENTS, range(settings.partitions)).values()
    ):
        return
    with UpgradeClient(settings, timeout_seconds=_DECIDING_SECONDS) as client:
        found = client.check()
        if all(one.answer == READY for one in found):
            found = list(client.finalise(found))
    formats = {one.format for one in found}
    if formats == {LATEST_FORMAT}:
        say(f"the log begins in format {LATEST_FORMAT}")
    else:
        say(f"the log begins in format {FIRST_FORMAT}; `rollbook upgrade finalise` raises it")


def _wait_for_services(stack: LocalStack, ports: Mapping[str, int]) -> None:
    """Wait until those with a port listen and the others have had the time to fail."""
    began = time.monotonic()
    waiting = set(ports)
    while waiting or time.monotonic() < began + _SETTLED_SECONDS:
        time.sleep(0.1)
        services = stack.services()
        ended = [one for one in services.values() if one.state == "exited"]
        if ended:
            raise _failure(ended[0], "ended")
        waiting = {name for name in waiting if not _listens(ports[name])}
        if waiting and time.monotonic() > began + _LISTENING_SECONDS:
            raise _failure(
                services[min(waiting)], f"does not listen after {_LISTENING_SECONDS:g} s"
            )


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _failure(service: ProcessStatus, what: str) -> Unavailable:
    return Unavailable(
        f"{service.name} {what}; its log {service.log} ends with:\n"
        + last_lines(Path(service.log)),
        code="service_failed",
        next_step=f"fix the cause, then `rollbook up`; the whole log: {service.log}",
    )


def projector_status(stack: LocalStack) -> tuple["ProjectorsStatus | None", str]:
    """Return how far the read models are, and why some are missing, or ''."""
    from projectors.versions.status import read_status

    try:
        found = read_status(operator_settings(stack.directory))
    except RollbookError as error:
        return None, str(error)
    # Two read models on one server report the same error.
    return found, "; ".join({str(error): "" for error in found.unavailable.values()})
