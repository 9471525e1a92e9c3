"""A local stack of real servers: start it, inspect it, stop it.

stack = LocalStack("default")
stack.up()                       # returns when every server answers
stack.servers()["kafka"].pid     # name, state, pid, port and log of each
stack.add_service("handler", ["rollbook", "handler", "run", "--instance", "local-1"])
stack.down(wipe=True)
"""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from schemas.errors import Misconfigured, Unavailable
from scripts.stack import ready
from scripts.stack.access import (
    choose_broker_count,
    is_secure,
    own_settings,
    refuse_plain,
    write_access,
)
from scripts.stack.brokers import with_all_brokers
from scripts.stack.download.fetch import fetch
from scripts.stack.download.jdk import choose_jdk
from scripts.stack.log_end import last_lines
from scripts.stack.native.programs import MARK
from scripts.stack.native.server_files import SERVERS, Site
from scripts.stack.native.servers import prepare, programs
from scripts.stack.native.supervise import Supervisor, end_orphans
from scripts.stack.places import (
    Report,
    choose_ports,
    locked,
    named_directory,
    remove,
    require_free,
    server_user,
)
from scripts.stack.record import (
    ProcessStatus,
    StackRecord,
    Started,
    password_file,
    read_record,
    servers_data,
    write_record,
)
from scripts.stack.secure import logins
from scripts.stack.secure.postgres import fetch_postgres

START_TIMEOUT_SECONDS = 180.0


class LocalStack:
    """The native stack called `name`; every method may be called repeatedly.

    Names are at most 40 lower-case letters, digits and hyphens. Stacks of different names run side
    by side if their ports differ.
    """

    def __init__(self, name: str | None = None) -> None:
        self.directory = named_directory(name)
        self.name = self.directory.name
        self.config_file = self.directory / "rollbook.toml"
        self._user = server_user()
        self.supervisor = Supervisor(self.directory)

    def up(
        self,
        *,
        ports: Mapping[str, int] | None = None,
        free_ports: bool = False,
        secure: bool = False,
        brokers: int | None = None,
        servers: Collection[str] = SERVERS,
        report: Report = lambda _line: None,
        timeout_seconds: float = START_TIMEOUT_SECONDS,
    ) -> Started:
        """Start every server that does not run and return when all of them answer.

        With `secure`, they demand TLS and logins; a stack that was secure before remains it. A new
        stack has so many `brokers`, one or three. Only `servers` are started and waited for; the
        registry among them needs Kafka.

        `report` is called with a line for each step. Raises `Misconfigured` if something prevents
        the start (a port in use, no Java), and `Unavailable`, with the path and the last lines of
        the log, if a server dies or does not answer within `timeout_seconds`. A stack that was down
        is then stopped again.
        """
        began = time.monotonic()
        if self._user:
            # The servers' user must be able to read what root creates, whatever root's umask is.
            # Files with secrets have their own mode.
            os.umask(0o022)
        with locked(self.directory / "lock"):
            record = read_record(self.directory)
            refuse_plain(self.directory, secure=secure)
            secure = secure or is_secure(self.directory)
            count = choose_broker_count(self.directory, brokers, secure=secure)
            if record and self.supervisor.runs():
                _require_same_ports(self.name, record.ports, ports or {})
                started = self._repair(record.ports, servers, report, timeout_seconds)
                write_access(self.directory, record.ports, servers)
                return Started(record.ports, True, started, time.monotonic() - began)
            end_orphans(self.directory)
            chosen = choose_ports(ports or {}, free=free_ports, secure=secure, brokers=count)
            require_free(chosen)
            site = self._make_site(chosen, report, secure=secure)
            site = replace(site, servers=servers)
            self._start(site, report, timeout_seconds)
            write_access(self.directory, chosen, servers)
        started = with_all_brokers(servers, chosen)
        return Started(chosen, False, started, time.monotonic() - began)

    def down(self, *, wipe: bool = False) -> bool:
        """Stop everything that `up` and `add_service` started; return whether anything ran.

        Blocks until all of it has ended. `wipe` also deletes data, logs and configuration, but no
        downloads.
        """
        if not self.directory.exists():
            return False
        with locked(self.directory / "lock"):
            ran = self._stop()
            self.config_file.unlink(missing_ok=True)
            remove(self.directory / "services")  # rollbook 0.1 kept environments in it
            if wipe:
                remove(servers_data(self.directory))
                remove(self.directory)
        return ran

    def status(self) -> list[ProcessStatus]:
        """Return every server, then every service; all are `stopped` without a supervisor."""
        record = read_record(self.directory)
        ports = record.ports if record else {}
        metrics = record.metrics if record else {}
        states = self.supervisor.states() if self.supervisor.runs() else {}
        statuses = []
        servers = with_all_brokers(SERVERS, ports)
        for name in [*servers, *(name for name in states if name not in servers)]:
            state = states.get(name)
            status = ProcessStatus(
                name=name,
                kind="server" if name in servers else "service",
                state=state.state if state else "stopped",
                pid=state.pid if state else None,
                uptime_seconds=state.uptime_seconds if state else None,
                port=ports.get(name),
                log=str(self.supervisor.log(name)),
                metrics_port=metrics.get(name),
            )
            statuses.append(status)
        return statuses

    def servers(self) -> dict[str, ProcessStatus]:
        """Return the servers by name: all brokers, registry, postgres, elasticsearch."""
        return {status.name: status for status in self.status() if status.kind == "server"}

    def services(self) -> dict[str, ProcessStatus]:
        """Return the services by name."""
        return {status.name: status for status in self.status() if status.kind == "service"}

    def add_service(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> None:
        """Run `command` under the supervisor as `name`, replacing a service of that name.

        It gets this process's working directory, `ROLLBOOK_*` variables and PYTHONPATH (where
        custom read models are), and `environment`. When it ends it is restarted, except after exit
        code 2: misconfigured. Nothing happens if the same service runs already.
        """
        inherited = {
            variable: value
            for variable, value in os.environ.items()
            if variable == "PYTHONPATH" or (variable.startswith("ROLLBOOK_") and variable != MARK)
        }
        config = {"ROLLBOOK_CONFIG": str(self.config_file)}
        self.supervisor.run_service(name, command, inherited | config | dict(environment or {}))

    def _make_site(self, ports: Mapping[str, int], report: Report, *, secure: bool) -> Site:
        java = choose_jdk(self._user, report)
        artefacts = fetch(self._user, java.home, report)
        if secure:
            postgres = fetch_postgres(self._user, java.home, report)
            artefacts = replace(artefacts, postgres=postgres)
        data = servers_data(self.directory)
        record = StackRecord("native", dict(ports), str(data), str(java.home), secure=secure)
        write_record(self.directory, record)
        self.supervisor.logs.mkdir(exist_ok=True)
        superuser = logins.password_file(self.directory, logins.ADMIN)
        return Site(
            stack=self.directory,
            data=data,
            configuration=data / "configuration",
            logs=self.supervisor.logs,
            password_file=superuser if secure else password_file(self.directory),
            java=java,
            programs=artefacts,
            ports=ports,
            user=self._user,
            secure=secure,
        )

    def _start(self, site: Site, report: Report, timeout_seconds: float) -> None:
        prepare(site)
        self.supervisor.start(programs(site), self._user)
        try:
            if site.secure and "registry" in site.servers:
                self._start_registry(site.ports, timeout_seconds)
            self._wait(site.ports, timeout_seconds, report, servers=site.servers)
        except BaseException:
            # Also on an interrupt: a stack is never left half started.
            self._stop()
            raise

    def _start_registry(self, ports: Mapping[str, int], timeout_seconds: float) -> None:
        """Start it; on a secure stack, once Kafka runs and lets it in."""
        if is_secure(self.directory):
            from scripts.stack.secure.roles import grant_registry

            self._wait(ports, timeout_seconds, servers=("kafka",), may_end=True)
            grant_registry(self.directory)
        self.supervisor.start_program("registry")

    def _repair(
        self,
        ports: Mapping[str, int],
        servers: Collection[str],
        report: Report,
        timeout_seconds: float,
    ) -> list[str]:
        states = self.supervisor.states()
        all_of_them = with_all_brokers(servers, ports)
        stopped = [name for name in all_of_them if states[name].state != "running"]
        for name in stopped:
            report(f"{name} is {states[name].state}: starting it")
            if name != "registry":
                self.supervisor.start_program(name)
        if "registry" in stopped:
            self._start_registry(ports, timeout_seconds)
        self._wait(ports, timeout_seconds, servers=servers, may_end=True)
        return stopped

    def _wait(
        self,
        ports: Mapping[str, int],
        timeout_seconds: float,
        report: Report = lambda _line: None,
        *,
        servers: Collection[str] = SERVERS,
        may_end: bool = False,
    ) -> None:
        """Wait until `servers` answer; unless they `may_end`, fail as soon as one has ended."""
        began = time.monotonic()
        checks = ready.checks(own_settings(self.directory, ports))
        waiting = set(with_all_brokers(servers, ports))
        while waiting:
            for name in sorted(waiting):
                if checks[name]():
                    waiting.remove(name)
                    report(f"{name} is ready after {time.monotonic() - began:.1f} s")
            states = self.supervisor.states()
            for name in waiting:
                if states[name].has_ended and not may_end:
                    raise self._failure(name, "died while starting")
            if waiting and time.monotonic() - began > timeout_seconds:
                raise self._failure(min(waiting), f"did not answer in {timeout_seconds:g} s")
            time.sleep(0.1)

    def _failure(self, name: str, what: str) -> Unavailable:
        log = self.supervisor.log(name)
        return Unavailable(
            f"{name} {what}; its log {log} ends with:\n{last_lines(log)}",
            code="server_failed",
            next_step=f"fix the cause and try again; the whole log: {log}",
        )

    def _stop(self) -> bool:
        if not self.supervisor.runs():
            return end_orphans(self.directory)
        self.supervisor.shut_down()
        return True


def _require_same_ports(name: str, running: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    for server, port in wanted.items():
        if running.get(server) != port:
            raise Misconfigured(
                f"stack {name} is up already, with {server} on port {running.get(server)}",
                code="other_port",
                next_step="stop it first, or start another one with --name",
            )
