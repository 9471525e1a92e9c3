"""What is measured: a registry with users and all its processes, two no-op services, the peer."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from projectors.catalog import open_versions
from runtime.callers.caller import Scope
from runtime.callers.key_file import add_key, new_key
from runtime.settings import Settings
from schemas.errors import CheckFailed
from scripts.bench.peers.eventsourcing_over_http import ServedPeer, served_peer
from scripts.bench.services.processor import pids_of_server
from scripts.bench.workload.event_log import EventWriter, events, user_id_of
from scripts.bench.workload.http_service import Service, running_services
from scripts.bench.workload.people import people
from scripts.bench.workload.processes import (
    ROLLBOOK,
    WARM_UP_COMMANDS,
    commit_beginning,
    environment_of,
    running_handlers,
    running_projector,
)
from scripts.bench.workload.registry_under_test import fresh_registry
from scripts.bench.workload.stores import counted, postgres_login
from scripts.stack.places import HOST, free_port

SERVICES: Final = ("commands", "queries", "noop", "bare_noop")
_CATCH_UP_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 0.05


@dataclass(slots=True)
class System:
    """Everything that runs. `users` counts those of the registry; who creates some adds them."""

    settings: Settings
    key: str = field(repr=False)
    user_ids: Sequence[str] = field(repr=False)
    users: int
    ports: dict[str, int] = field(default_factory=dict)
    pids: dict[str, Sequence[int]] = field(default_factory=dict)
    peer: ServedPeer | None = None
    count: Callable[[], int] = int

    def catch_up(self) -> None:
        """Return once the read model has all users, so that nothing of ours is busy."""
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while self.count() < self.users:
            if time.monotonic() > deadline:
                raise CheckFailed("the projector did not catch up")
            time.sleep(_LOOK_SECONDS)


@contextmanager
def running_system(settings: Settings, users: int, *, with_peer: bool) -> Iterator[System]:
    """Run a handler, the projector of PostgreSQL, both services, the no-ops, and the peer.

    All are warm and idle when the block begins. The registry and the peer have as many users each,
    the same ones; the services need a key.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        key, text = new_key("bench", frozenset({Scope.COMMANDS, Scope.QUERIES}))
        add_key(folder / "keys.json", key)
        own = replace(settings, http_keys_file=str(folder / "keys.json"))
        system = stack.enter_context(running_registry(own, users))
        system.key = text
        _run_services(stack, system)
        if with_peer:
            system.peer = stack.enter_context(served_peer(settings, users))
            system.pids["peer"] = system.peer.pids
        system.catch_up()
        yield system


@contextmanager
def running_registry(settings: Settings, users: int) -> Iterator[System]:
    """Run a handler and the projector of PostgreSQL on a registry of so many users.

    Both are warm and idle when the block begins.
    """
    with ExitStack() as stack:
        own = stack.enter_context(fresh_registry(settings))
        EventWriter(own).write(events(users))
        commit_beginning(own)
        ids = [user_id_of(number, one) for number, one in enumerate(people(users))]
        system = System(own, "", ids, users + WARM_UP_COMMANDS)
        _run_registry(stack, system)
        login = postgres_login(own)
        system.pids["kafka"] = pids_of_server(own.kafka_bootstrap_servers.partition(",")[0])
        system.pids["postgres"] = pids_of_server(f"{login['host']}:{login['port']}")
        system.catch_up()
        yield system


def _run_registry(stack: ExitStack, system: System) -> None:
    own = system.settings
    with closing(open_versions(own, "postgres")) as versions:
        versions.begin()
    handler = stack.enter_context(running_handlers(own))
    projector = stack.enter_context(running_projector(own, "postgres"))
    system.pids |= {"handler": [handler.process.pid], "projector": [projector.process.pid]}
    system.count = stack.enter_context(counted(own, "postgres"))


def _run_services(stack: ExitStack, system: System) -> None:
    for name in SERVICES:
        system.ports[name] = free_port(set(system.ports.values()))
    services = [_service(system, name) for name in SERVICES]
    processes = stack.enter_context(running_services(*services))
    for name, process in zip(SERVICES, processes, strict=True):
        system.pids[name] = [process.process.pid]


def _service(system: System, name: str) -> Service:
    port, environment = system.ports[name], environment_of(system.settings)
    if name in {"noop", "bare_noop"}:
        command = [sys.executable, "-m", "scripts.bench.services.noop", name, str(port)]
        return Service(command, environment, port, "/noop" if name == "bare_noop" else "/readyz")
    command = [ROLLBOOK, "serve", name, "--listen", f"{HOST}:{port}"]
    return Service(command, environment, port, "/readyz")
