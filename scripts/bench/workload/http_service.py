"""Runs services over HTTP as processes."""

import http.client
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.errors import CheckFailed
from scripts.bench.workload.processes import Running, running
from scripts.stack.places import HOST

_START_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Service:
    """How a service is run: it answers 200 at the path `probe` once it can do its work."""

    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(repr=False)
    port: int
    probe: str


@contextmanager
def running_services(*services: Service) -> Iterator[list[Running]]:
    """Run services; the block begins once all of them can do their work.

    Raises `CheckFailed` if one takes longer than two minutes.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(running(one.command, one.environment)) for one in services]
        for service, process in zip(services, processes, strict=True):
            _await_answer(service, process.alive)
        yield processes


def _await_answer(service: Service, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(service):
        if not alive() or time.monotonic() > deadline:
            raise CheckFailed(f"the service at port {service.port} did not start")
        time.sleep(_LOOK_SECONDS)


def _answers(service: Service) -> bool:
    connection = http.client.HTTPConnection(HOST, service.port, timeout=10)
    try:
        connection.request("GET", service.probe)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
