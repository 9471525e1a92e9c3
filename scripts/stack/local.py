"""A local stack of real servers: bring it up, look at it, take it down.

stack = LocalStack("default")
stack.up()                       # returns when every server answers
stack.servers()["kafka"].pid     # name, state, pid, port and log of each
stack.add_service("handler", ["rollbook", "handler", "run", "--instance", "local-1"])
stack.down(wipe=True)
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from schemas.errors import Misconfigured, Unavailable
from scripts.stack import jdk, ready
from scripts.stack.fetch import artefacts, fetch, last_lines
from scripts.stack.orphans import end_orphans
from scripts.stack.places import (
    choose_ports,
    data_directory,
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
    write_record,
    write_settings,
)
from scripts.stack.server_files import SERVERS, Site
from scripts.stack.servers import prepare, programs
from scripts.stack.services import add_service
from scripts.stack.supervise import ProgramState, Supervisor

START_TIMEOUT_SECONDS = 180.0

Report = Callable[[str], None]
FetchProgress = Callable[[float], None]


class LocalStack:
    """The native stack called `name`; nothing happens before `up`, and every call may be repeated.

    Names are at most 40 lower-case letters, digits and hyphens. Stacks of different names run side
    by side, given different ports.
    """

    def __init__(self, name: str | None = None) -> None:
        self.directory = named_directory(name)
        self.name = self.directory.name
        self.config_file = self.directory / "rollbook.toml"
        self._user = server_user()
        self.supervisor = Supervisor(self.directory)

    def record(self) -> StackRecord | None:
        """Return how the stack was brought up last, or None if it never was or was wiped."""
        return read_record(self.directory)

    def runs(self) -> bool:
        """Say whether the stack's supervisor runs."""
        return self.supervisor.runs()

    def up(
        self,
        *,
        ports: Mapping[str, int] | None = None,
        free_ports: bool = False,
        report: Report = lambda _line: None,
        fetched: FetchProgress = lambda _megabytes: None,
        timeout_seconds: float = START_TIMEOUT_SECONDS,
    ) -> Started:
        """Start what does not run yet and return when every server answers.

        `report` is told what happens, `fetched` the megabytes loaded so far. Raises `Misconfigured`
        for what stands in the way (JDK, Maven, a taken port) and `Unavailable`, with the log's path
        and last lines, if a server dies or does not answer within `timeout_seconds`; a stack that
        did not run before is then taken down again.
        """
        began = time.monotonic()
        with locked(self.directory / "lock"):
            record = self.record()
            if record and self.supervisor.runs():
                _require_same_ports(self.name, record.ports, ports or {})
                started = self._repair(record.ports, report, timeout_seconds)
                write_settings(self.directory, record.ports)
                return Started(record.ports, True, started, time.monotonic() - began)
            end_orphans(self.directory)
            chosen = choose_ports(ports or {}, free=free_ports)
            require_free(chosen)
            site = self._make_site(chosen, report, fetched)
            self._start(site, report, timeout_seconds)
            write_settings(self.directory, chosen)
        return Started(chosen, False, list(SERVERS), time.monotonic() - began)

    def down(self, *, wipe: bool = False) -> bool:
        """Stop all that `up` and `add_service` started and wait for it; True if something ran.

        With `wipe` data, logs and configuration are deleted too; downloads stay.
        """
        if not self.directory.exists():
            return False
        with locked(self.directory / "lock"):
            record = self.record()
            ran = self._stop()
            self.config_file.unlink(missing_ok=True)
            remove(self.directory / "services")  # environments, which may hold secrets
            if wipe:
                remove(Path(record.data) if record and record.data else self._data())
                remove(self.directory)
        return ran

    def status(self) -> list[ProcessStatus]:
        """Return every server, then every service; all are `stopped` without a supervisor."""
        record = self.record()
        ports = record.ports if record else {}
        states = self.supervisor.states() if self.supervisor.runs() else {}
        names = [*SERVERS, *(name for name in states if name not in SERVERS)]
        return [self._status(name, states.get(name), ports.get(name)) for name in names]

    def servers(self) -> dict[str, ProcessStatus]:
        """Return the servers by name: kafka, registry, postgres, elasticsearch."""
        return {status.name: status for status in self.status() if status.kind == "server"}

    def services(self) -> dict[str, ProcessStatus]:
        """Return the services by name."""
        return {status.name: status for status in self.status() if status.kind == "service"}

    def add_service(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> None:
        """Run `command` under the supervisor as `name`, replacing another service of that name.

        It gets this process's environment and working directory, `environment` over that, and
        `ROLLBOOK_CONFIG`. When it ends it is started again after a growing pause, but not after
        exit code 2: misconfigured. Nothing happens if the same service runs already.
        """
        full = {**os.environ, "ROLLBOOK_CONFIG": str(self.config_file), **(environment or {})}
        add_service(self.supervisor, self.directory, name, list(command), full)
        self.supervisor.start_program(name)

    def remove_service(self, name: str) -> None:
        """Stop the service and forget it; nothing happens if there is none of that name."""
        self.supervisor.remove(name)

    def start(self, name: str) -> None:
        """Start a stopped server or service; returns at once."""
        self.supervisor.start_program(name)

    def stop(self, *names: str) -> None:
        """Stop servers or services and wait for their end; they stay stopped."""
        self.supervisor.stop(*names)

    def kill(self, name: str) -> int:
        """Kill a server or service with SIGKILL, children included; return its process id.

        The supervisor starts it again.
        """
        state = self.supervisor.states()[name]
        if state.pid is None:
            raise Unavailable(f"{name} does not run", code="not_running")
        # Each program leads a process group: Elasticsearch's launcher has the server as a child.
        os.killpg(state.pid, signal.SIGKILL)
        return state.pid

    def wait_until_ready(self, *names: str, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Wait until the named servers answer, or all of them. Raises `Unavailable` if not."""
        record = self.record()
        if record is None:
            raise Unavailable(f"stack {self.name} is not up", code="not_running")
        wanted = names or SERVERS
        self._wait(wanted, record.ports, timeout_seconds, deaths_are_final=False)

    def _data(self) -> Path:
        return data_directory(self.directory, self._user)

    def _make_site(self, ports: Mapping[str, int], report: Report, fetched: FetchProgress) -> Site:
        choice = jdk.choose_jdk(self._user)
        for line in choice.passed_over:
            report(f"passing over {line}")
        java = choice.jdk
        report(f"using JDK {java.version} in {java.home} (found in {java.found_in})")
        fetch(self._user, java.home, fetched)
        record = StackRecord("native", dict(ports), str(self._data()), str(java.home))
        write_record(self.directory, record)
        self.supervisor.logs.mkdir(exist_ok=True)
        return Site(
            data=self._data(),
            configuration=self._data() / "configuration",
            logs=self.supervisor.logs,
            password_file=password_file(self.directory),
            java=java.home,
            programs=artefacts(self._user),
            ports=ports,
            user=self._user,
        )

    def _start(self, site: Site, report: Report, timeout_seconds: float) -> None:
        prepare(site)
        self.supervisor.start()
        try:
            for program in programs(site):
                self.supervisor.add(program, self._user)
                self.supervisor.start_program(program.name)
            self._wait(SERVERS, site.ports, timeout_seconds, report)
        except BaseException:
            # Also when interrupted: a stack is up or it is not.
            self._stop()
            raise

    def _repair(
        self, ports: Mapping[str, int], report: Report, timeout_seconds: float
    ) -> list[str]:
        states = self.supervisor.states()
        away = [name for name in SERVERS if states[name].state != "running"]
        for name in away:
            report(f"{name} is {states[name].state}: starting it")
            self.supervisor.start_program(name)
        self._wait(SERVERS, ports, timeout_seconds, deaths_are_final=False)
        return away

    def _wait(
        self,
        names: Iterable[str],
        ports: Mapping[str, int],
        timeout_seconds: float,
        report: Report = lambda _line: None,
        *,
        deaths_are_final: bool = True,
    ) -> None:
        checks = ready.checks(ports, password_file(self.directory))
        waiting = set(names)
        pids = {name: state.pid for name, state in self.supervisor.states().items()}
        with ready.Waiting({name: checks[name] for name in waiting}) as answers:
            while waiting:
                time.sleep(0.1)
                for name in sorted(waiting & answers.answered.keys()):
                    waiting.discard(name)
                    report(f"{name} is ready after {answers.answered[name]:.1f} s")
                states = self.supervisor.states() if deaths_are_final else {}
                for name in waiting & states.keys():
                    state = states[name]
                    if state.pid is None or state.pid != pids[name]:
                        raise self._failure(name, "died while starting")
                if waiting and answers.seconds > timeout_seconds:
                    raise self._failure(min(waiting), f"did not answer in {timeout_seconds:g} s")

    def _failure(self, name: str, what: str) -> Unavailable:
        log = self.supervisor.log(name)
        return Unavailable(
            f"{name} {what}; its log {log} ends with:\n{last_lines(log)}",
            code="server_failed",
            next_step=f"mend the cause and try again; the whole log: {log}",
        )

    def _stop(self) -> bool:
        if not self.supervisor.runs():
            return end_orphans(self.directory)
        states = self.supervisor.states()
        self.supervisor.stop(*(name for name in states if name not in SERVERS))
        self.supervisor.stop("registry", "elasticsearch", "postgres")
        self.supervisor.stop("kafka")  # last: the registry writes to it until its end
        self.supervisor.shut_down()
        return True

    def _status(self, name: str, state: ProgramState | None, port: int | None) -> ProcessStatus:
        return ProcessStatus(
            name=name,
            kind="server" if name in SERVERS else "service",
            state=state.state if state else "stopped",
            pid=state.pid if state else None,
            uptime_seconds=state.uptime_seconds if state else None,
            port=port,
            log=str(self.supervisor.log(name)),
        )


def _require_same_ports(name: str, running: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    for server, port in wanted.items():
        if running.get(server) != port:
            raise Misconfigured(
                f"stack {name} is up already, with {server} on port {running.get(server)}",
                code="other_port",
                next_step="take it down first, or bring up another with --name",
            )
