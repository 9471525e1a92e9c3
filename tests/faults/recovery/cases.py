"""What dies in each case, and when all is well again."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx2

from tests.faults.nemesis.system import System
from tests.faults.outage import MODELS
from tests.faults.recovery.observer import PATIENCE_SECONDS, Observer
from tests.started.processes import eventually

_VICTIM: Final = "a"
_PAUSE_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry under load, and the client that watches it."""

    system: System
    observer: Observer

    def wait_until_well(self) -> None:
        """Return once all processes work: the next case begins with nothing left of the last."""
        self.system.wait_until_well()
        for name in ("a", "b"):
            self.system.processes[name].wait_for("restored partition")
        self.observer.wait_until_shown(self.observer.wait_for_answers())


@dataclass(frozen=True, slots=True)
class Times:
    """How long it took; `server_seconds` is the part in which a killed server was starting."""

    seconds: float
    server_seconds: float | None = None


def _handler_killed(registry: Registry) -> Times:
    with registry.system.held(_VICTIM) as process:
        began = time.monotonic()
        process.kill()
        registry.observer.wait_for_answers()
        return Times(time.monotonic() - began)


def _handler_stopped(registry: Registry) -> Times:
    with registry.system.held(_VICTIM) as process:
        began = time.monotonic()
        process._process.send_signal(signal.SIGTERM)
        registry.observer.wait_for_answers()
        seconds = time.monotonic() - began
        process.wait()
        return Times(seconds)


def _handler_restarted(registry: Registry) -> Times:
    with registry.system.held(_VICTIM) as process:
        began = time.monotonic()
        process.kill()
        registry.system.start(_VICTIM)
        registry.observer.wait_for_answers()
        return Times(time.monotonic() - began)


def _projector_restarted(model: str, registry: Registry) -> Times:
    name = f"{model} projector"
    with registry.system.held(name) as process:
        began = time.monotonic()
        process.kill()
        registry.system.start(name)
        registry.observer.wait_until_shown(registry.observer.wait_for_answers(), [model])
        return Times(time.monotonic() - began)


def _service_restarted(service: str, registry: Registry) -> Times:
    with registry.system.held(service) as process:
        began = time.monotonic()
        process.kill()
        registry.system.start(service)
        _wait_for_service(registry.system.url(service), service)
        return Times(time.monotonic() - began)


def _wait_for_service(url: str, service: str) -> None:
    """Return once a service is ready and has answered a request."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with httpx2.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False) as http:
        is_ready = False
        while not is_ready:
            assert time.monotonic() < deadline, f"{service} is not ready"
            try:
                is_ready = http.get("/readyz").status_code == 200
            except httpx2.TransportError:
                time.sleep(_PAUSE_SECONDS)
        if service == "queries":
            answer = http.get("/users/01a22057-e841-7000-894f-d17ca020d246")
            assert answer.status_code == 404, answer.text
        else:
            body = {"email": f"recovered{time.time_ns()}@example.com", "name": "Back", "age": 40}
            answer = http.post("/users", json=body)
            assert answer.status_code == 201, answer.text


def _server_restarted(server: str, registry: Registry) -> Times:
    system, observer = registry.system, registry.observer
    began = time.monotonic()
    system.servers.crash(server)
    system.servers.bring_back(server)
    server_seconds = time.monotonic() - began
    observer.wait_until_shown(observer.wait_for_answers())
    eventually(partial(_are_ready, system), PATIENCE_SECONDS, "the services are ready")
    return Times(time.monotonic() - began, server_seconds)


def _are_ready(system: System) -> bool:
    return all(system._is_ready(service) for service in ("commands", "queries"))


_ANSWERS: Final = "every partition answers"
_SERVES: Final = "it is ready and has answered"
_ALL: Final = "every partition answers, every read model has caught up, both services are ready"
# What dies → when the time ends, and what measures it.
CASES: Final[Mapping[str, tuple[str, Callable[[Registry], Times]]]] = {
    "handler killed; another one takes over": (_ANSWERS, _handler_killed),
    "handler stopped with SIGTERM; another one takes over": (_ANSWERS, _handler_stopped),
    "handler killed and started again": (_ANSWERS, _handler_restarted),
    **{
        f"projector of {model} killed and started again": (
            "it shows what was written meanwhile",
            partial(_projector_restarted, model),
        )
        for model in MODELS
    },
    **{
        f"`serve {service}` killed and started again": (
            _SERVES,
            partial(_service_restarted, service),
        )
        for service in ("commands", "queries")
    },
    **{
        f"{title} killed and started again": (_ALL, partial(_server_restarted, server))
        for title, server in {
            "the only broker": "kafka",
            "PostgreSQL": "postgres",
            "Elasticsearch": "elasticsearch",
            "schema registry": "registry",
        }.items()
    },
}
