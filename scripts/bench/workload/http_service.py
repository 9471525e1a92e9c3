"""Runs a service over HTTP as a process."""

import http.client
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from schemas.errors import CheckFailed
from scripts.bench.workload.processes import Running, running
from scripts.stack.places import HOST

_START_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.05


@contextmanager
def running_service(
    command: Sequence[str | Path], environment: Mapping[str, str], port: int, probe: str
) -> Iterator[Running]:
    """Run a service; the block begins once it answers 200 at the path `probe`.

    Raises `CheckFailed` if that takes longer than two minutes.
    """
    with running(command, environment) as process:
        _await_answer(port, probe, process.alive)
        yield process


def _await_answer(port: int, probe: str, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(port, probe):
        if not alive() or time.monotonic() > deadline:
            raise CheckFailed(f"the service at port {port} did not start")
        time.sleep(_LOOK_SECONDS)


def _answers(port: int, probe: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", probe)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
