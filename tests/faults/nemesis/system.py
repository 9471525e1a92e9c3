"""The processes of a registry under one supervisor, which restarts what ends by itself."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Self

import httpx2

from scripts.stack.native.local import LocalStack
from tests.faults.broker_proxy import BrokerProxy
from tests.faults.http_proxy import HttpProxy
from tests.faults.nemesis.plan import HANDLERS
from tests.faults.outage import MODELS, Servers
from tests.started.processes import Rollbook, RunningProcess, eventually

SESSION_SECONDS: Final = 6
# What ends after a session's time is noticed a heartbeat later.
OUTLASTS_SESSION_SECONDS: Final = SESSION_SECONDS + 2
SERVICES: Final = ("commands", "queries")
# Longer than any client asks a service to wait.
CALL_SECONDS: Final = 24.0
# The third handler runs only while partitions are to move.
EXTRA_HANDLER: Final = "c"
# The module for a command that breaks at a point.
ARMED: Final = "tests.faults.nemesis.armed"
ROOT: Final = Path(__file__).parents[3]


class System:
    """Handlers `a` and `b`, each behind its own proxy, a projector for each read model, services.

    All processes reach Elasticsearch through `search`.
    `saboteur` names what the handlers do wrong (`tests.faults.nemesis.handler`). `happened` counts
    faults, `exits` how processes ended that nobody had killed. With `by_default` no process uses a
    proxy and all settings have their defaults.
    """

    def __init__(
        self,
        rollbook: Rollbook,
        stack: LocalStack,
        saboteur: str | None = None,
        *,
        by_default: bool = False,
    ) -> None:
        self.rollbook = rollbook
        self.settings = rollbook.settings
        self.servers = Servers(stack)
        self.happened: Counter[str] = Counter()
        self.exits: Counter[str] = Counter()
        self.processes: dict[str, RunningProcess] = {}
        self._saboteur = saboteur
        self._ports = {service: _free_port() for service in SERVICES}
        self._held: set[str] = set()
        # Processes that were started with options: they are not left running.
        self._odd: set[str] = set()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._resources = ExitStack()
        broker = self.settings.kafka_bootstrap_servers
        self.proxies = {
            name: self._resources.enter_context(BrokerProxy(broker))
            for name in (() if by_default else HANDLERS)
        }
        self.search = self._resources.enter_context(HttpProxy(self.settings.elasticsearch_url))
        rollbook.overrides["PYTHONPATH"] = str(ROOT)
        if not by_default:
            rollbook.overrides["ROLLBOOK_ELASTICSEARCH_URL"] = self.search.url
            rollbook.overrides["ROLLBOOK_SESSION_TIMEOUT_SECONDS"] = str(SESSION_SECONDS)
            rollbook.overrides["ROLLBOOK_TRANSACTION_TIMEOUT_SECONDS"] = "5"

    def __enter__(self) -> Self:
        for name in (*HANDLERS, *(f"{model} projector" for model in MODELS), *SERVICES):
            self.start(name)
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for process in self.rollbook._started:
            process.kill()
        self._resources.close()

    def url(self, service: str) -> str:
        """Return the address of a service, which stays the same when it is restarted."""
        return f"http://127.0.0.1:{self._ports[service]}"

    def http(self, service: str) -> httpx2.Client:
        """Return a client of a service."""
        # To verify what has no TLS, every client would read the authorities first: 150 ms.
        url = self.url(service)
        return httpx2.Client(base_url=url, timeout=CALL_SECONDS, trust_env=False, verify=False)

    def start(self, name: str, *options: str) -> RunningProcess:
        """Start a process; `options` are those of `tests.faults.nemesis.handler` or of `ARMED`."""
        with self._lock:
            (self._odd.add if options else self._odd.discard)(name)
            self.processes[name] = self._start(name, options)
            return self.processes[name]

    def _start(self, name: str, options: tuple[str, ...]) -> RunningProcess:
        if name in SERVICES:
            listen = f"127.0.0.1:{self._ports[name]}"
            return self.rollbook.start("serve", name, "--listen", listen)
        if name.endswith(" projector"):
            command = ("projector", "run", name.partition(" ")[0])
            if not options:
                return self.rollbook.start(*command)
            return self.rollbook.start_module(ARMED, *options, *command)
        if self._saboteur:
            options = (*options, "--saboteur", self._saboteur)
        behind = {}
        if name in self.proxies:
            behind["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"] = self.proxies[name].address
        with self.changed(**behind):
            if not options:
                return self.rollbook.start_handler(name, wait=False)
            return self.rollbook.start_module("tests.faults.nemesis.handler", name, *options)

    @contextmanager
    def changed(self, **overrides: str) -> Iterator[None]:
        """Start processes with other settings inside the `with` block."""
        with self._lock:
            before = self.rollbook.overrides
            self.rollbook.overrides = before | overrides  # clients read them meanwhile
            try:
                yield
            finally:
                self.rollbook.overrides = before

    @contextmanager
    def held(self, name: str) -> Iterator[RunningProcess]:
        """Leave a process alone inside the `with` block; afterwards it runs without options."""
        with self._lock:
            self._held.add(name)
            process = self.processes[name]
        try:
            yield process
        finally:
            with self._lock:
                self._held.discard(name)
                process = self.processes[name]
                if name in self._odd:
                    process.kill()
                if process.returncode() is not None:
                    self.start(name)

    def _supervise(self) -> None:
        while not self._ended.wait(1):
            with self._lock:
                for name, process in list(self.processes.items()):
                    code = process.returncode()
                    if code is not None and name not in self._held:
                        kind = f"handler {name}" if name in HANDLERS else name
                        self.exits[f"{kind}: {code}"] += 1
                        self.start(name)

    def tracebacks(self) -> list[str]:
        """Return the name of every log with an unexpected error."""
        found = []
        for log in sorted(self.rollbook.directory.glob("*.log")):
            text = log.read_text("utf-8", errors="replace")
            if "failed unexpectedly" in text or "Traceback" in text:
                found.append(f"{log.name} has an unexpected error")
        return found

    def wait_until_well(self) -> None:
        """Wait until both services are ready."""
        for service in SERVICES:
            eventually(partial(self._is_ready, service), 120, f"serve {service} is ready")

    def _is_ready(self, service: str) -> bool:
        try:
            with self.http(service) as http:
                return http.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
