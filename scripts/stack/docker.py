"""The local stack in containers: runs `docker compose` with docker-compose.yml."""

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.command_line import extras
from schemas.errors import Misconfigured, Unavailable
from scripts.stack.access import is_secure, refuse_plain, write_access
from scripts.stack.places import (
    choose_ports,
    free_port,
    locked,
    named_directory,
    remove,
    require_free,
)
from scripts.stack.record import (
    OBSERVERS,
    ProcessStatus,
    StackRecord,
    Started,
    ensure_key,
    keys_file,
    password_file,
    read_record,
    write_private,
    write_record,
    write_settings,
)
from scripts.stack.secure import containers

COMPOSE_FILE = Path(__file__).parents[2] / "docker-compose.yml"
SECURE_FILE = COMPOSE_FILE.parent / "deploy" / "compose" / "secure.yml"
SERVERS = ("kafka", "registry", "postgres", "elasticsearch", "kibana")
# Their logins are created while they run, by the administrator; Elasticsearch's are in files.
_GRANTING = ("kafka", "postgres")
# Ports that only native servers listen on; the containers do not publish them.
_INTERNAL = ("kafka-controller", "elasticsearch-transport")
KIBANA_PORT = 15601
# Profile `observe` of docker-compose.yml.
OBSERVER_PORTS = {"prometheus": 19090, "grafana": 13000}


def problem() -> str:
    """Return why Docker cannot be used here, or '' if it can."""
    if not shutil.which("docker"):
        return "the docker command is not on PATH"
    if _call(["docker", "compose", "version"]).returncode != 0:
        return "docker lacks the compose plugin"
    if _call(["docker", "info"]).returncode != 0:
        return "the Docker engine does not answer"
    if not COMPOSE_FILE.is_file():
        return "this installation lacks docker-compose.yml: run rollbook from a clone"
    return ""


def require_docker() -> None:
    """Raise `Misconfigured` if Docker cannot be used here."""
    found = problem()
    if found:
        raise Misconfigured(
            f"the Docker stack cannot be used: {found}",
            code="no_docker",
            next_step="start Docker (with its compose plugin), or use --native",
        )


class DockerStack:
    """The stack called `name`, run as the compose project `rollbook-NAME`."""

    def __init__(self, name: str | None = None) -> None:
        self.directory = named_directory(name)
        self.name = self.directory.name

    def up(
        self,
        *,
        ports: Mapping[str, int],
        free_ports: bool,
        whole_system: bool = False,
        observed: bool = False,
        secure: bool = False,
    ) -> Started:
        """Start the servers and wait until they are healthy; `whole_system` adds our services.

        `observed` adds Prometheus and Grafana. With `secure`, servers demand TLS and logins, also
        in later starts, and Kibana is left out. Starting a stack that is up changes nothing. Raises
        `Misconfigured` if Docker cannot be used or a port is taken, `Unavailable` if compose fails.
        """
        require_docker()
        began = time.monotonic()
        with locked(self.directory / "lock"):
            record = read_record(self.directory)
            refuse_plain(self.directory, secure=secure)
            secure = secure or is_secure(self.directory)
            if secure:
                _require_no_prefix()
                extras.require_local("--secure")
            servers = [name for name in SERVERS if not (secure and name == "kibana")]
            running = bool(record and self._containers())
            known = record.ports if record and running else {}
            added = published_ports(ports, free=free_ports, observed=observed, secure=secure)
            if known:
                added = {name: added[name] for name in OBSERVERS if name in added.keys() - known}
            require_free(added)
            chosen = {**known, **added}
            secret = password_file(self.directory)
            if not secret.exists():
                write_private(secret, secrets.token_urlsafe(24) + "\n")
            ensure_key(self.directory)
            if secure and not running:
                containers.write_files(self.directory, chosen)
            data = str(containers.folder(self.directory)) if secure else ""
            write_record(self.directory, StackRecord("docker", chosen, data, secure=secure))
            if secure:
                self._create_logins(chosen)
            observers = [name for name in OBSERVERS if name in chosen]
            services = [] if whole_system else [*servers, *observers]
            self._compose("up", "--detach", "--wait", *services, show=True)
            if not secure:
                write_settings(self.directory, chosen)
        return Started(chosen, running, servers, time.monotonic() - began)

    def _create_logins(self, ports: Mapping[str, int]) -> None:
        """Start the servers that keep logins themselves, and create those of all roles there."""
        from scripts.stack.secure.roles import grant_registry

        self._compose("up", "--detach", "--wait", *_GRANTING, show=True)
        grant_registry(self.directory)
        write_access(self.directory, ports, _GRANTING)

    def down(self, *, wipe: bool = False) -> bool:
        """Remove the project's containers; `wipe` also deletes its volumes and our folder.

        Returns whether the stack had containers.
        """
        require_docker()
        with locked(self.directory / "lock"):
            ran = bool(self._containers())
            self._compose("down", *(["--volumes"] if wipe else []), show=True)
            (self.directory / "rollbook.toml").unlink(missing_ok=True)
            if wipe:
                remove(self.directory)
        return ran

    def status(self) -> list[ProcessStatus]:
        """Return every container of the project."""
        require_docker()
        record = read_record(self.directory)
        ports = record.ports if record else {}
        return [
            ProcessStatus(
                name=container["Service"],
                kind="server" if container["Service"] in SERVERS else "service",
                state=_state(container),
                pid=None,
                uptime_seconds=None,
                port=ports.get(container["Service"]),
                log=f"docker logs {container['Name']}",
            )
            for container in self._containers()
        ]

    def logs(self, server: str | None, *, follow: bool) -> None:
        """Show the containers' logs."""
        require_docker()
        options = ["--tail", "200", *(["--follow"] if follow else []), *filter(None, [server])]
        self._compose("logs", *options, show=True)

    def _containers(self) -> list[dict[str, Any]]:
        output = self._compose("ps", "--all", "--format", "json")
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")]

    def _compose(self, *arguments: str, show: bool = False) -> str:
        files = [COMPOSE_FILE, *([SECURE_FILE] if is_secure(self.directory) else [])]
        command = ["docker", "compose", "-p", f"rollbook-{self.name}"]
        command += [part for file in files for part in ("-f", str(file))]
        done = _call([*command, *arguments], environment=self.compose_environment(), show=show)
        if done.returncode != 0:
            raise Unavailable(
                f"docker compose {arguments[0]} failed: {(done.stderr or '').strip()[-1500:]}",
                code="compose_failed",
                next_step="`rollbook stack logs` shows the containers' logs",
            )
        return done.stdout or ""

    def compose_environment(self) -> dict[str, str]:
        """Return our environment with the variables that docker-compose.yml reads."""
        record = read_record(self.directory)
        ports = record.ports if record else published_ports({}, free=False)
        variables = {f"ROLLBOOK_{name.upper()}_PORT": str(port) for name, port in ports.items()}
        for variable, secret in (
            ("ROLLBOOK_POSTGRES_PASSWORD", password_file(self.directory)),
            ("ROLLBOOK_HTTP_KEYS", keys_file(self.directory)),
        ):
            if secret.is_file():
                variables[variable] = secret.read_text(encoding="utf-8").strip()
        if is_secure(self.directory):
            variables |= containers.variables(self.directory)
        if any(name in ports for name in OBSERVERS):
            # Of every command: `down` leaves containers of other profiles running.
            variables["COMPOSE_PROFILES"] = "observe"
        return {**os.environ, **variables}


def _require_no_prefix() -> None:
    if os.environ.get("ROLLBOOK_PREFIX"):
        raise Misconfigured(
            "the roles of a secure stack in containers have no prefix",
            code="bad_setting",
            next_step="unset ROLLBOOK_PREFIX, or use --native",
        )


def published_ports(
    wanted: Mapping[str, int], *, free: bool, observed: bool = False, secure: bool = False
) -> dict[str, int]:
    """Return the port that each container publishes: those of the native servers, and Kibana's."""
    more = ({} if secure else {"kibana": KIBANA_PORT}) | (OBSERVER_PORTS if observed else {})
    native = {name: port for name, port in wanted.items() if name not in more}
    ports = choose_ports(native, free=free, secure=secure)
    for name, default in more.items():
        other = free_port(set(ports.values())) if free else default
        ports[name] = wanted.get(name, other)
    return {name: port for name, port in ports.items() if name not in _INTERNAL}


def _state(container: Mapping[str, Any]) -> str:
    # The container that creates the topics exits with 0 when it has finished.
    if container["State"] == "exited" and container.get("ExitCode") == 0:
        return "done"
    return str(container["State"])


def _call(
    command: list[str], *, environment: Mapping[str, str] | None = None, show: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.PIPE,
        text=True,
        check=False,
        env=environment,
    )
