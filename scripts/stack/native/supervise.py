"""The supervisor of one stack: a detached supervisord that runs the servers and our services.

supervisord restarts what dies, rotates the logs, and stops everything in the order of priorities.
This module writes its configuration and calls it over a Unix socket that only its owner may open.
"""

import glob
import os
import pwd
import re
import resource
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import Unavailable
from scripts.stack.native.programs import (
    MARK,
    Program,
    program_section,
    quote,
    service_script,
)
from scripts.stack.places import ServerUser
from scripts.stack.record import write_private

# A Unix socket's path may have 108 characters on Linux and 104 elsewhere.
_LONGEST_SOCKET_PATH = 100

# Kafka keeps several files open per partition, and each test creates its own topics.
_OPEN_FILES = 65_536

# supervisord stops one program after the other, and kills each that takes 20 or 30 s.
_STOP_SECONDS = 240.0
# supervisord starts an ended program again within a second.
_RESTART_SECONDS = 2.0
_POLL_SECONDS = 0.1
# The states in which supervisord starts a program only when it is asked to.
_STAYS_DOWN = frozenset({"stopped", "fatal"})


@dataclass(frozen=True, slots=True)
class ProgramState:
    """The state of one program; `state` is supervisord's own name for it, in lower case."""

    name: str
    state: str
    pid: int | None
    uptime_seconds: float | None
    has_ended: bool  # at least once since supervisord started


class Supervisor:
    """Starts, calls and stops the supervisord of the stack in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._programs = directory / "programs"

    @property
    def logs(self) -> Path:
        """The folder that holds one log per program."""
        return self._directory / "logs"

    def log(self, name: str) -> Path:
        """Return the path of a program's log."""
        return self.logs / f"{name}.log"

    def runs(self) -> bool:
        """Return whether supervisord answers."""
        try:
            with self._rpc() as rpc:
                return bool(rpc.getState())
        except (OSError, xmlrpc.client.Error):
            return False

    def start(self, programs: Sequence[Program] = (), user: ServerUser | None = None) -> None:
        """Start supervisord, detached from this terminal; it starts `programs`, run as `user`.

        Raises `Unavailable` if supervisord does not answer.
        """
        self._programs.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        self._forget_services()  # a killed supervisord leaves them behind
        for log in self.logs.glob("*.log"):
            # Error messages quote the end of a log: it must not show an earlier run.
            log.replace(log.with_suffix(".log.1"))
        sections = [program_section(one, self.log(one.name), user) for one in programs]
        configuration = self._directory / "supervisord.conf"
        write_private(configuration, "\n".join([self._configuration(), *sections]))
        # Services bring their own settings; one that is no longer set must not be inherited.
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("ROLLBOOK_")}
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", configuration],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=self._directory,
            env=inherited | {MARK: str(self._directory)},
        )
        # supervisord goes into the background once it listens on its socket.
        if done.returncode != 0 or not self.runs():
            raise Unavailable(
                f"the supervisor did not start: {(done.stderr or done.stdout).strip()[-500:]}",
                code="supervisor_failed",
                next_step=f"see {self._directory / 'supervisord.log'}",
            )

    def pid(self) -> int:
        """Return supervisord's own process id."""
        with self._rpc() as rpc:
            return int(rpc.getPID())

    def shut_down(self) -> None:
        """Stop all programs, then supervisord; wait for it. Raises `Unavailable` after 240 s."""
        import psutil

        supervisord = psutil.Process(self.pid())
        with self._rpc() as rpc:
            rpc.shutdown()
        try:
            supervisord.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            message = f"the supervisor (process {supervisord.pid}) did not end"
            raise Unavailable(message, code="not_stopped") from None
        self._forget_services()

    def run_service(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """Run `command` in this working directory as `name`, replacing a service of that name.

        A service that ends is restarted within about a second, except after exit code 2:
        misconfigured. The same command with the same `environment` is not restarted.
        """
        script = self._programs / f"{name}.sh"
        text = service_script(command, environment)
        known = name in self.states()
        if known and script.exists() and script.read_text(encoding="utf-8") == text:
            self.start_program(name)
            return
        if known:
            self.stop(name)
            with self._rpc() as rpc:
                rpc.removeProcessGroup(name)
        write_private(script, text)
        program = Program(
            name,
            ["/bin/sh", str(script)],
            directory=Path.cwd(),
            priority=900,
            stop_seconds=20,
            start_seconds=0,
            final_exit_codes=(2,),
        )
        configuration = program_section(program, self.log(name), None)
        write_private(self._programs / f"{name}.conf", configuration)
        with self._rpc() as rpc:
            rpc.reloadConfig()
            rpc.addProcessGroup(name)

    def start_program(self, name: str) -> None:
        """Start the program and return at once; nothing happens if it runs."""
        with self._rpc() as rpc, _ignoring("ALREADY_STARTED"):
            rpc.startProcess(name, False)

    def stop(self, name: str) -> None:
        """Stop the program and wait until it has ended; it stays stopped."""
        began = time.monotonic()
        while (state := self.states()[name].state) not in _STAYS_DOWN:
            # A program that has ended and may be about to be restarted cannot be stopped.
            if state == "exited" and time.monotonic() > began + _RESTART_SECONDS:
                return
            # supervisord's own way of waiting for the end takes a whole processor.
            with self._rpc() as rpc, _ignoring("NOT_RUNNING"):
                rpc.stopProcess(name, False)
            time.sleep(_POLL_SECONDS)

    def states(self) -> dict[str, ProgramState]:
        """Return the state of every program, by name."""
        with self._rpc() as rpc:
            infos: Any = rpc.getAllProcessInfo()
        return {info["name"]: _state(info) for info in infos}

    def _forget_services(self) -> None:
        """Delete the services' files: their environment may hold secrets."""
        for file in self._programs.glob("*"):
            file.unlink()

    def _configuration(self) -> str:
        owner = f"user={pwd.getpwuid(os.geteuid()).pw_name}\n" if os.geteuid() == 0 else ""
        return f"""\
[supervisord]
directory={quote(self._directory)}
logfile={quote(self._directory / "supervisord.log")}
pidfile={quote(self._directory / "supervisord.pid")}
childlogdir={quote(self.logs)}
minfds={_open_files_limit()}
{owner}
[unix_http_server]
file={quote(self._socket())}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={quote(_glob(self._programs))}/*.conf
"""

    def _socket(self) -> Path:
        """Return the socket's path: in our folder, or if that is too long in a temporary one."""
        path = self._directory / "supervisor.sock"
        if len(str(path)) <= _LONGEST_SOCKET_PATH:
            return path
        note = self._directory / "supervisor.sock.path"
        if not note.exists() or not Path(note.read_text(encoding="utf-8")).parent.is_dir():
            short = Path(tempfile.mkdtemp(prefix="rollbook-")) / "supervisor.sock"
            note.write_text(str(short), encoding="utf-8")
        return Path(note.read_text(encoding="utf-8"))

    @contextmanager
    def _rpc(self) -> Iterator[Any]:
        from supervisor.xmlrpc import SupervisorTransport

        transport: Any = SupervisorTransport(  # type: ignore[no-untyped-call]
            serverurl=f"unix://{self._socket()}"
        )
        # The transport connects to the socket; this address is required but not used.
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            yield proxy.supervisor
        finally:
            transport.close()


def _glob(path: Path) -> str:
    """Return a pattern for `path` without spaces, at which supervisord splits."""
    return re.sub(r"\s", "?", glob.escape(str(path)))


def end_orphans(directory: Path) -> bool:
    """End the processes that a killed supervisord left behind; return whether there were any.

    Blocks until they have ended: SIGTERM first, SIGKILL after 20 s.
    """
    import psutil

    # A service that runs `rollbook stack down` must not end itself.
    spared = (os.getpid(), os.getppid())
    orphans = [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get(MARK) == str(directory) and process.pid not in spared
    ]
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in psutil.wait_procs(orphans, timeout=0)[1]:
            with suppress(psutil.NoSuchProcess):
                end(process)
        psutil.wait_procs(orphans, timeout=20)
    return bool(orphans)


def _state(info: dict[str, Any]) -> ProgramState:
    running = info["pid"] > 0
    return ProgramState(
        name=info["name"],
        state=info["statename"].lower(),
        pid=info["pid"] or None,
        uptime_seconds=float(info["now"] - info["start"]) if running else None,
        has_ended=info["stop"] > 0,
    )


@contextmanager
def _ignoring(fault_name: str) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if not fault.faultString.startswith(fault_name):
            raise


def _open_files_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # supervisord requires the hard limit to be greater than this number.
    return _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard - 1)
