"""Starts `rollbook` in a fork of a process that has imported it: importing takes 0.3 to 1 s.

Arguments, environment, working directory, output, signals and exit code are those of the installed
command. Tests of pages, stack, wheel and demo start that command itself.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock
from typing import Final

_CONTEXT: Final = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", __name__])
# The exit code of a process can be read once. `start` asks for those of all processes, so without
# the lock a thread that asks at the same time may be told 255.
_LOCK: Final = Lock()
# What the commands import only when they need it. None of these starts a thread.
_IMPORTED_LATE: Final = (
    "confluent_kafka.admin",
    "elasticsearch",
    "fastavro",
    "producers.cli.handler",
    "producers.cli.import_users",
    "producers.cli.users",
    "producers.handler.start",
    "producers.service.app",
    "projectors.cli.dead_letters",
    "projectors.cli.events",
    "projectors.cli.projector",
    "projectors.cli.users",
    "projectors.history.writer",
    "projectors.service.app",
    "projectors.versions.host",
    "projectors.versions.visibility",
    "psycopg",
    "scripts.cli",
    "scripts.serve_queries",
    "scripts.users",
    "uvloop",
)


class ForkedProcess:
    """A `rollbook` process; its methods are those of `subprocess.Popen`.

    `module` has the function `main` that is called with the arguments.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        output: Path,
        errors: Path,
        *,
        module: str = "scripts.cli",
    ) -> None:
        self._process = _CONTEXT.Process(
            target=_run,
            args=(list(arguments), dict(environment), directory, (output, errors), module),
        )
        with _LOCK:
            self._process.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, that of a signal negative; None while it runs."""
        with _LOCK:
            return self._process.exitcode

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for its end; return the exit code. Raises TimeoutError."""
        wait([self._process.sentinel], timeout_seconds)
        if (code := self.returncode) is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout_seconds} s")
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)


def _run(
    arguments: list[str],
    environment: dict[str, str],
    directory: Path,
    outputs: tuple[Path, Path],
    module: str,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, file, flags in (
        (0, Path(os.devnull), os.O_RDONLY),
        (1, outputs[0], appending),
        (2, outputs[1], appending),
    ):
        opened = os.open(file, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 - open as long as the process
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    # Custom read models are found there.
    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    import_module(module).main(arguments)


for _name in _IMPORTED_LATE:
    import_module(_name)
