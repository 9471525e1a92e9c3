"""Runs `rollbook` as users and supervisors do: as processes, with the settings of one test."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runtime.roles.table import OPERATOR
from runtime.settings import Settings
from tests.depth import depth
from tests.started.fork_server import ForkedProcess
from tests.started.installed_process import InstalledProcess
from tests.started.roles import role_of

# A shell that runs the tests in the background makes them, and so their processes, ignore SIGINT.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Deep tests put more on the log, so every wait may take longer.
DEEP_PATIENCE = depth(1, 6)
ROLLBOOK = str(Path(sys.executable).with_name("rollbook"))


def eventually(condition: Callable[[], object], timeout_seconds: float = 60, what: str = "") -> Any:
    """Return the first true value of `condition`; fail after `timeout_seconds` without one.

    Most conditions ask servers: the longer one does not hold, the less often it is asked.
    """
    deadline = time.monotonic() + timeout_seconds * DEEP_PATIENCE
    pause_seconds = 0.05
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(pause_seconds)
        pause_seconds = min(1.3 * pause_seconds, 0.4)
    raise AssertionError(f"not within {timeout_seconds} s: {what or condition}")


class RunningProcess:
    """A process in the background, usually of `rollbook`, its output in `log`."""

    def __init__(self, process: ForkedProcess | InstalledProcess, log: Path) -> None:
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, text: str, times: int = 1, timeout_seconds: float = 60) -> None:
        """Wait until it has printed `text` at least `times` times; fail if it ends before that."""
        self.wait_for_match(re.escape(text), times, timeout_seconds)

    def wait_for_match(self, pattern: str, times: int = 1, timeout_seconds: float = 60) -> None:
        """Wait as `wait_for` does, but for a regular expression."""

        def printed() -> bool:
            if len(re.findall(pattern, self.text())) >= times:
                return True
            if self._process.returncode is not None:
                raise AssertionError(f"ended with {self._process.returncode}:\n{self.text()}")
            return False

        eventually(printed, timeout_seconds, f"{pattern!r} in {self.log}")

    def wait(self, timeout_seconds: float = 60) -> int:
        """Wait until it ends; return its exit code."""
        return self._process.wait(timeout_seconds * DEEP_PATIENCE)

    def returncode(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self._process.returncode

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """Stop it as a long pause would: SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it continue: SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self, timeout_seconds: float = 30) -> int:
        """Ask it to end with SIGTERM; return its exit code."""
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_seconds)
        finally:
            self.kill()


@dataclass
class Rollbook:
    """The `rollbook` command with the settings of one test.

    It is that of this tree, unless `installed` is the command of another release. Each command
    gets the settings of its role, if `roles` has a file for it, or else `config`.
    """

    settings: Settings
    config: Path
    directory: Path
    overrides: dict[str, str] = field(default_factory=dict)
    installed: str | None = None
    roles: Mapping[str, Path] = field(default_factory=dict)
    _started: list[RunningProcess] = field(default_factory=list)

    def environment(self, *arguments: str) -> dict[str, str]:
        """Return the environment of a process with these arguments."""
        kept = {name: v for name, v in os.environ.items() if not name.startswith("ROLLBOOK_")}
        return kept | {
            "ROLLBOOK_CONFIG": str(self._config_of(arguments)),
            "ROLLBOOK_PREFIX": self.settings.prefix,
            "ROLLBOOK_PARTITIONS": str(self.settings.partitions),
            "ROLLBOOK_STATE_DIRECTORY": str(self.directory),
            "PYTHONUNBUFFERED": "1",
            **self.overrides,
        }

    def _config_of(self, arguments: Sequence[str]) -> Path:
        if not self.roles:
            return self.config
        return self.roles.get(role_of(arguments), self.roles[OPERATOR])

    def run(
        self, *arguments: str, stdin: str | bytes = "", timeout_seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        timeout_seconds *= DEEP_PATIENCE
        if stdin or self.installed:
            return self._run_installed(arguments, stdin, timeout_seconds)
        with TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            environment = self.environment(*arguments)
            process = ForkedProcess(arguments, environment, self.directory, output, errors)
            try:
                code = process.wait(timeout_seconds)
            finally:
                process.send_signal(signal.SIGKILL)
            return subprocess.CompletedProcess(
                arguments, code, output.read_text("utf-8"), errors.read_text("utf-8")
            )

    def _run_installed(
        self, arguments: Sequence[str], stdin: str | bytes, timeout_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that reads from a pipe, or is that of another release."""
        done = subprocess.run(
            [self.installed or ROLLBOOK, *arguments],
            env=self.environment(*arguments),
            cwd=self.directory,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def json(self, *arguments: str, stdin: str | bytes = "", code: int = 0) -> Any:
        """Run a command with `--json`, which must end with `code`; return the object it prints."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout or done.stderr)

    def ndjson(self, *arguments: str, stdin: str | bytes = "", code: int = 0) -> list[Any]:
        """Run a command with `--json`, which must end with `code`; return its object per line."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def start(self, *arguments: str) -> RunningProcess:
        """Start a command in the background; it is stopped when the test ends."""
        if self.installed:
            return self.start_program(self.installed, *arguments)
        log = self._new_log(*arguments)
        process = ForkedProcess(arguments, self.environment(*arguments), Path.cwd(), log, log)
        return self._keep(RunningProcess(process, log))

    def start_module(self, module: str, *arguments: str) -> RunningProcess:
        """Start a module's function `main` in the background with our environment."""
        log = self._new_log(module.rpartition(".")[2], *arguments)
        environment = self.environment(*arguments)
        process = ForkedProcess(arguments, environment, self.directory, log, log, module=module)
        return self._keep(RunningProcess(process, log))

    def start_program(self, program: str, *arguments: str) -> RunningProcess:
        """Start any program in the background with our environment; it is stopped, too."""
        log = self._new_log(Path(program).name, *arguments)
        environment = self.environment(*arguments)
        process = InstalledProcess([program, *arguments], environment, self.directory, log)
        return self._keep(RunningProcess(process, log))

    def _new_log(self, *words: str) -> Path:
        name = "-".join(Path(word).name for word in words[:4])
        log = self.directory / f"{len(self._started)}-{name}.log"
        log.touch()
        return log

    def _keep(self, process: RunningProcess) -> RunningProcess:
        self._started.append(process)
        return process

    def start_handler(self, instance: str = "a", *, wait: bool = True) -> RunningProcess:
        """Start a handler; with `wait`, return once all partitions are restored."""
        process = self.start("handler", "run", "--instance", instance)
        if wait:
            process.wait_for("restored partition", times=self.settings.partitions)
        return process

    def start_projector(self, name: str) -> RunningProcess:
        return self.start("projector", "run", name)

    def last_output(self, lines: int = 25) -> str:
        """Return the last lines that each process in the background has printed."""
        return "\n".join(
            f"== {process.log.name}\n" + "\n".join(process.text().splitlines()[-lines:])
            for process in self._started
        )

    def stop_all(self) -> None:
        for process in self._started:
            process.stop()
