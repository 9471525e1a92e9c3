"""Kills, freezes and restarts servers, keeps a load on the log, and checks the result."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from confluent_kafka import TopicPartition

from runtime.kafka.clients import lone_consumer
from runtime.settings import Settings
from schemas.topics import OUTCOMES
from scripts.stack import ready
from scripts.stack.native.local import LocalStack
from scripts.stack.record import plain_settings, servers_data
from tests.observed.log import assert_exactly_once
from tests.samples.people import people_csv
from tests.started.processes import Rollbook, RunningProcess, eventually

MODELS = ("postgres", "history", "elasticsearch")


class Servers:
    """The servers of a stack, by name."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    def crash(self, name: str) -> None:
        """Kill all processes of a server with SIGKILL, and keep it stopped.

        The supervisor may have started it again before it is told, and would wait half a minute
        until a server that repairs its files ends by itself.
        """
        self.send(name, signal.SIGKILL)
        with ThreadPoolExecutor(1) as thread:
            stopping = thread.submit(self._stack.supervisor.stop, name)
            while not wait([stopping], timeout=0.2).done:
                with suppress(psutil.NoSuchProcess):
                    self.send(name, signal.SIGKILL)
            stopping.result()

    def start(self, *names: str) -> None:
        """Start servers, and do not wait for them."""
        for name in names:
            self._stack.supervisor.start_program(name)

    def bring_back(self, *names: str) -> None:
        """Start servers and wait until they answer."""
        self.start(*names)
        self.wait_until_ready(*names)

    def wait_until_ready(self, *names: str) -> None:
        """Wait until these servers answer; without names, all."""
        ports = {name: server.port or 0 for name, server in self._stack.servers().items()}
        checks = ready.checks(plain_settings(self._stack.directory, ports))
        eventually(lambda: all(checks[name]() for name in names or checks), 300)

    @contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Freeze servers inside the `with` block."""
        for name in names:
            self.send(name, signal.SIGSTOP)
        try:
            yield
        finally:
            for name in names:
                self.send(name, signal.SIGCONT)

    def folder(self, name: str) -> Path:
        """Return the folder of a server's data."""
        return servers_data(self._stack.directory) / name

    def log(self, name: str) -> Path:
        """Return the file that a server's output is written to."""
        return self._stack.supervisor.log(name)

    def pid(self, name: str) -> int | None:
        """Return the id of a server's first process, None while it does not run."""
        return self._stack.servers()[name].pid

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a server and its children."""
        if (pid := self.pid(name)) is not None:
            signal_tree(pid, number)


def signal_tree(pid: int, number: signal.Signals) -> None:
    """Send a signal to a server and its children."""
    # PostgreSQL's processes lead separate process groups; a remaining one may still write.
    children = psutil.Process(pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.send_signal(number)


class RunningImport:
    """A running `rollbook users import`, slow enough to leave time to break something."""

    def __init__(
        self, rollbook: Rollbook, count: int, *, tag: str = "u", pace: int = 1_000
    ) -> None:
        self._count = count
        file = rollbook.directory / f"{tag}.csv"
        file.write_text(people_csv(count, tag), encoding="utf-8")
        self._process = rollbook.start(
            "users", "import", "--json", "--in-flight", str(pace), str(file)
        )

    def wait(self, timeout_seconds: float = 90) -> None:
        """Wait until every line has an answer; each must have created a user."""
        code = self._process.wait(timeout_seconds)
        assert code == 0, self._process.text()
        totals = json.loads(self._process.text().splitlines()[-1])
        assert (totals["created"], totals["undecided"]) == (self._count, 0)

    def is_unfinished(self) -> bool:
        """Return whether lines still wait for an answer."""
        return not self._process.text()


class Progress:
    """Counts the offsets of the outcomes: a cheap measure of how far the load has come."""

    def __init__(self, settings: Settings) -> None:
        self._places = [
            TopicPartition(settings.named(OUTCOMES.name), number)
            for number in range(settings.partitions)
        ]
        # Counts those of open transactions too.
        self._consumer = lone_consumer(settings, **{"isolation.level": "read_uncommitted"})

    def wait_for(self, offsets: int) -> None:
        """Wait until there are `offsets` more than now."""
        wanted = self._now() + offsets
        eventually(lambda: self._now() >= wanted, what=f"{offsets} more outcomes")

    def _now(self) -> int:
        return sum(
            self._consumer.get_watermark_offsets(place, timeout=10)[1] for place in self._places
        )


def start_all(rollbook: Rollbook) -> dict[str, RunningProcess]:
    """Start a handler and all projectors; return once each has its partitions."""
    handler = rollbook.start_handler(wait=False)
    processes = {name: rollbook.start_projector(name) for name in MODELS}
    handler.wait_for("restored partition", times=rollbook.settings.partitions)
    for process in processes.values():
        process.wait_for("assigned: partitions [0")
    return {"handler": handler, **processes}


def assert_everything_is_valid(rollbook: Rollbook, users: int) -> None:
    """Fail unless each command was decided once and `rollbook verify` finds nothing wrong."""
    rollbook.ndjson("verify")
    assert_exactly_once(rollbook.settings, users)
