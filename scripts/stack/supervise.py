"""The supervisor of one stack: a detached supervisord that runs servers and services.

It outlives the terminal that started it, keeps a rotated log for each program, and starts again
what dies. We talk to it over a Unix socket that only its owner may open.
"""

import os
import pwd
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import Unavailable
from scripts.stack.places import ServerUser

# A Unix socket's path may have 108 characters on Linux and 104 elsewhere.
_LONGEST_SOCKET_PATH = 100

# Every partition keeps a few files open in Kafka, and each test makes its own topics.
_WANTED_FILES = 65_536

# Set in all we start, so that they can be found again when the supervisor itself was killed.
MARK = "ROLLBOOK_SUPERVISED_BY"


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep running."""

    name: str
    command: list[str]
    directory: Path
    priority: int  # lower starts first and stops last
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_seconds: int = 30
    # A server must live this long to count as started; else the pause before the next start grows.
    start_seconds: int = 5
    # An exit with one of these codes is final; with none of them the program always starts again.
    final_exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What the supervisor says of one program. `state` is one of its words, in lower case."""

    name: str
    state: str
    pid: int | None
    uptime_seconds: float | None


class Supervisor:
    """Talks to, starts and stops the supervisord of the stack in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._programs = directory / "programs"

    @property
    def logs(self) -> Path:
        """The folder with a log for each program."""
        return self._directory / "logs"

    def log(self, name: str) -> Path:
        """Return the path of a program's log."""
        return self.logs / f"{name}.log"

    def runs(self) -> bool:
        """Say whether it answers."""
        try:
            with self._rpc() as rpc:
                return bool(rpc.getState())
        except (OSError, xmlrpc.client.Error):
            return False

    def start(self) -> None:
        """Start supervisord, detached from this terminal. Raises `Unavailable` if it cannot."""
        self._programs.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        for file in self._programs.glob("*.conf"):
            file.unlink()  # a supervisor that was killed left it
        for log in self.logs.glob("*.log"):
            # What went wrong before must not be taken for what goes wrong now.
            log.replace(log.with_suffix(".log.1"))
        configuration = self._directory / "supervisord.conf"
        configuration.write_text(self._configuration(), encoding="utf-8")
        configuration.chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", configuration],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=self._directory,
            env=dict(os.environ) | {MARK: str(self._directory)},
        )
        until = time.monotonic() + 15
        while done.returncode == 0 and time.monotonic() < until:
            if self.runs():
                return
            time.sleep(0.05)
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
        """Stop all programs and supervisord, and wait until it is gone."""
        pid = self.pid()
        with self._rpc() as rpc:
            rpc.shutdown()
        until = time.monotonic() + 60
        while _lives(pid) and time.monotonic() < until:
            time.sleep(0.05)
        if _lives(pid):
            raise Unavailable(f"the supervisor (process {pid}) did not end", code="not_stopped")
        for file in self._programs.glob("*.conf"):
            file.unlink()

    def add(self, program: Program, user: ServerUser | None) -> None:
        """Make `program`, run as `user`, known without starting it; it replaces its namesake."""
        self.remove(program.name)
        path = self._programs / f"{program.name}.conf"
        path.write_text(program_section(program, self.log(program.name), user), encoding="utf-8")
        path.chmod(0o600)
        with self._rpc() as rpc:
            rpc.reloadConfig()
            rpc.addProcessGroup(program.name)

    def remove(self, name: str) -> None:
        """Stop the program and forget it; nothing happens if it is unknown."""
        (self._programs / f"{name}.conf").unlink(missing_ok=True)
        if name in self.states():
            self.stop(name)
            with self._rpc() as rpc:
                rpc.removeProcessGroup(name)

    def start_program(self, name: str) -> None:
        """Start the program and return at once; nothing happens if it runs."""
        with self._rpc() as rpc, _ignoring("ALREADY_STARTED"):
            rpc.startProcess(name, False)

    def stop(self, *names: str) -> None:
        """Stop the programs together and wait until they ended."""
        with self._rpc() as rpc:
            for name in names:
                with _ignoring("NOT_RUNNING", "BAD_NAME"):
                    rpc.stopProcess(name, False)
        while any(s.name in names and s.state == "stopping" for s in self.states().values()):
            time.sleep(0.05)

    def states(self) -> dict[str, ProgramState]:
        """Return what is known of every program, by name."""
        with self._rpc() as rpc:
            infos: Any = rpc.getAllProcessInfo()
        return {info["name"]: _state(info) for info in infos}

    def _configuration(self) -> str:
        owner = f"user={pwd.getpwuid(os.geteuid()).pw_name}\n" if os.geteuid() == 0 else ""
        return f"""\
[supervisord]
directory={_quote(self._directory)}
logfile={_quote(self._directory / "supervisord.log")}
pidfile={_quote(self._directory / "supervisord.pid")}
childlogdir={_quote(self.logs)}
minfds={_files_allowed()}
{owner}
[unix_http_server]
file={_quote(self._socket())}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={_quote(self._programs)}/*.conf
"""

    def _socket(self) -> Path:
        """Return the socket's path: in our folder, or where that is too long in a private one."""
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
        # The address is not used: the transport goes to the socket.
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            yield proxy.supervisor
        finally:
            transport.close()


def program_section(program: Program, log: Path, user: ServerUser | None) -> str:
    """Return the supervisor's configuration for `program`, run as `user` or as ourselves."""
    environment = ",".join(f'{n}="{_quote(v)}"' for n, v in program.environment.items())
    final = ",".join(map(str, program.final_exit_codes))
    lines = {
        "command": _quote(shlex.join(program.command)),
        "directory": _quote(program.directory),
        "priority": program.priority,
        "autostart": "false",
        "autorestart": "unexpected" if final else "true",
        **({"exitcodes": final} if final else {}),
        # The pause grows by a second with each failed start; it is never given up.
        "startretries": 1_000_000_000,
        "startsecs": program.start_seconds,
        "stopsignal": program.stop_signal,
        "stopwaitsecs": program.stop_seconds,
        # Launchers have children; none may be left behind.
        "stopasgroup": "true" if program.stop_signal == "TERM" else "false",
        "killasgroup": "true",
        "stdout_logfile": _quote(log),
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": 2,
        "redirect_stderr": "true",
        **({"environment": environment} if environment else {}),
        **({"user": user.name} if user else {}),
    }
    body = "".join(f"{name}={value}\n" for name, value in lines.items())
    return f"[program:{program.name}]\n{body}"


def _quote(value: object) -> str:
    """Double the percent signs, which the supervisor's configuration expands."""
    return str(value).replace("%", "%%")


def _state(info: dict[str, Any]) -> ProgramState:
    running = info["pid"] > 0
    return ProgramState(
        name=info["name"],
        state=info["statename"].lower(),
        pid=info["pid"] or None,
        uptime_seconds=float(info["now"] - info["start"]) if running else None,
    )


@contextmanager
def _ignoring(*faults: str) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if not fault.faultString.startswith(faults):
            raise


def _files_allowed() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The supervisor wants the limit to be greater than what it is told.
    return _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard - 1)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
