"""The processes of a registry, of which each can be replaced by that of another release."""

import sys
from pathlib import Path

from tests.started.processes import Rollbook, RunningProcess, eventually
from tests.upgrade.told import Told, read_told

LOAD = str(Path(__file__).with_name("load.py"))
PROJECTORS = ("postgres", "history", "elasticsearch")
HANDLERS = ("handler a", "handler b")
# Those that read events first: a release reads what it does not write yet.
UPWARDS = (*PROJECTORS, *HANDLERS)
DOWNWARDS = (*HANDLERS, *PROJECTORS)


class Load:
    """A client that sends commands without pause, of the release whose command `rollbook` is."""

    def __init__(self, rollbook: Rollbook, tag: str, senders: int = 1) -> None:
        python = Path(rollbook.installed).with_name("python") if rollbook.installed else None
        self._process = rollbook.start_program(
            str(python or sys.executable), LOAD, tag, str(senders)
        )
        self._answers = self._counted_bytes = 0

    def packages(self) -> Path:
        """Return where it imports rollbook's packages from, once it has begun."""
        self._process.wait_for("sending with ")
        return Path(self._process.text().splitlines()[0].removeprefix("sending with "))

    def wait_for(self, answers: int, timeout_seconds: float = 120) -> None:
        """Wait until it has got so many answers in all; fail if it ends before."""

        def has_them() -> bool:
            assert self._process.returncode() is None, self._process.text()[-2_000:]
            return self.answers() >= answers

        eventually(has_them, timeout_seconds, f"{answers} answers in {self._process.log.name}")

    def answers(self) -> int:
        """Return how many answers it has got, reading only what is new in its output."""
        with self._process.log.open("rb") as log:
            log.seek(self._counted_bytes)
            new = log.read()
        self._counted_bytes += len(new)
        self._answers += new.count(b"}\n")
        return self._answers

    def freeze(self) -> None:
        """Make it send nothing; handlers may still decide what it has sent."""
        self._process.freeze()

    def thaw(self) -> None:
        """Let it continue."""
        self._process.thaw()

    def stop(self) -> list[Told]:
        """Let it get its last answers; return what it was told."""
        assert self._process.stop(timeout_seconds=120) == 0, self._process.text()[-2_000:]
        return read_told(self._process.text())


class Deployment:
    """Two handlers and the projectors of all read models, each of some release."""

    def __init__(self, release: Rollbook) -> None:
        ensured = release.run("topics", "ensure")
        assert ensured.returncode == 0, ensured.stderr
        self._running: dict[str, RunningProcess] = {}
        for name in UPWARDS:
            self.start(name, release, wait=False)
        for name in UPWARDS:
            self._wait_ready(name)

    def start(self, name: str, release: Rollbook, *, wait: bool = True) -> None:
        """Start a process of `release`; with `wait`, return once it has its partitions."""
        if name in PROJECTORS:
            self._running[name] = release.start_projector(name)
        else:
            instance = name.removeprefix("handler ")
            self._running[name] = release.start_handler(instance, wait=False)
        if wait:
            self._wait_ready(name)

    def _wait_ready(self, name: str) -> None:
        ready = "assigned: partitions [0" if name in PROJECTORS else "restored partition"
        self._running[name].wait_for(ready, timeout_seconds=90)

    def replace(
        self, name: str, release: Rollbook, *, crash: bool = False, wait: bool = True
    ) -> RunningProcess:
        """Stop or kill a process and start that of `release` in its place; return that one."""
        process = self._running[name]
        if crash:
            process.kill()
        else:
            assert process.stop() == 0, process.text()
        self.start(name, release, wait=wait)
        return self._running[name]

    def process(self, name: str) -> RunningProcess:
        """Return the process that runs under a name now."""
        return self._running[name]

    def all_run(self) -> bool:
        """Return whether no process has ended."""
        return all(process.returncode() is None for process in self._running.values())
