"""Runs an installed command as a process, in place of a fork of this tree's `rollbook`."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class InstalledProcess:
    """A process; its methods are those of `tests.started.fork_server.ForkedProcess`."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], directory: Path, output: Path
    ) -> None:
        with output.open("ab") as opened:  # appends, so that no line overwrites another
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=opened,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, that of a signal negative; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for its end; return the exit code. Raises TimeoutError."""
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"process {self.pid} still runs after {timeout_seconds} s") from None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal unless it has ended."""
        self._process.send_signal(number)
