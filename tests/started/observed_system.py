"""All processes of a registry with their metrics, under a light load, and a Prometheus."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx2

from projectors.catalog import OURS
from scripts.stack.native.local import LocalStack
from scripts.stack.observe.prometheus import RULES, observe, write_targets
from scripts.stack.record import read_record
from tests.started.processes import Rollbook, RunningProcess, eventually
from tests.started.prometheus import Prometheus
from tests.started.services import Service

SERVICES: Final = ("commands", "queries")
PROJECTORS: Final = tuple(f"projector-{model}" for model in OURS)
PROCESSES: Final = ("handler", *PROJECTORS, *SERVICES)
_PAUSE_SECONDS: Final = 0.2
_READERS: Final = 3
_TIMEOUT_SECONDS: Final = 20


class System:
    """The processes by name; `stack` runs the Prometheus that observes them."""

    def __init__(self, rollbook: Rollbook, stack: LocalStack, rules: Path = RULES) -> None:
        self.rollbook = rollbook
        self.settings = rollbook.settings
        port = observe(stack, PROCESSES, free_ports=True, rules=rules, interval="1s")
        record = read_record(stack.directory)
        assert record
        self._ports = {name: record.metrics[name] for name in PROCESSES}
        write_targets(stack.directory, self._ports)
        self.prometheus = Prometheus(port)
        self.certificate = rollbook.directory / "certificate.pem"
        self.processes: dict[str, RunningProcess] = {}
        self.services: dict[str, Service] = {}
        # While it is set, nobody sends commands.
        self.is_idle = threading.Event()

    def start(self, *names: str) -> None:
        """Start processes with their metrics."""
        for name in names:
            listen = f"127.0.0.1:{self._ports[name]}"
            self.rollbook.overrides["ROLLBOOK_METRICS_LISTEN"] = listen
            # A handler serves nothing over TLS, but looks after the file all the same.
            for kind in ("CERTIFICATE", "KEY"):
                self.rollbook.overrides[f"ROLLBOOK_HTTP_TLS_{kind}"] = (
                    str(self.certificate) if name == "handler" else ""
                )
            if name in SERVICES:
                self.services[name] = Service(self.rollbook, name)
                self.processes[name] = self.services[name].process
            elif name == "handler":
                self.processes[name] = self.rollbook.start_handler(wait=False)
            else:
                self.processes[name] = self.rollbook.start_projector(name.partition("-")[2])

    def stop(self, *names: str) -> None:
        """Stop processes as a supervisor does."""
        for name in names:
            self.processes[name].stop()

    def wait_until_healthy(self) -> None:
        """Wait until Prometheus has scraped every started process and found it ready."""
        ready = "count(rollbook_process_ready == 1)"
        started = str(len(self.processes))
        eventually(
            lambda: [one["value"][1] for one in self.prometheus.query(ready)] == [started],
            180,
            "every process is ready",
        )

    @contextmanager
    def load(self) -> Iterator[None]:
        """Create users and read them inside the `with` block, whatever the answers are."""
        stop = threading.Event()
        runs = [self._create, *[self._read] * _READERS]
        threads = [threading.Thread(target=run, args=(stop,), daemon=True) for run in runs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _create(self, stop: threading.Event) -> None:
        count = 0
        with httpx2.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as http:
            while not stop.wait(_PAUSE_SECONDS):
                if self.is_idle.is_set():
                    continue
                count += 1
                self.create(http, f"load-{count}-{time.time_ns()}@example.com")

    def create(self, http: httpx2.Client, email: str, age: int = 40) -> None:
        """Send a command that creates a user; do not wait for its answer."""
        with suppress(httpx2.TransportError):
            http.post(
                f"{self.services['commands'].url}/users",
                headers={"prefer": "respond-async"},
                json={"email": email, "name": "Load", "age": age},
            )

    def _read(self, stop: threading.Event) -> None:
        with httpx2.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as http:
            while not stop.wait(_PAUSE_SECONDS):
                with suppress(httpx2.TransportError):
                    http.get(f"{self.services['queries'].url}/users")

    def close(self) -> None:
        """Stop the processes and close the connections."""
        for process in self.processes.values():
            process.stop()
        for service in self.services.values():
            service.http.close()
        self.prometheus.close()
