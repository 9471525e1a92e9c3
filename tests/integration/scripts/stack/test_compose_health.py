"""The health checks in docker-compose.yml that are scripts, run against real servers."""

import subprocess
from collections.abc import Callable

import pytest
import yaml

from scripts.stack.docker import COMPOSE_FILE
from scripts.stack.native.local import LocalStack
from scripts.stack.places import free_port
from scripts.stack.record import read_record

CONTAINER_PORTS = {"kafka": "9092", "registry": "8080"}

Check = Callable[[int], int]


@pytest.fixture(params=CONTAINER_PORTS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def check(server: str) -> Check:
    """Run the server's health check against a port and return its exit code."""
    services = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"]
    kind, *script = services[server]["healthcheck"]["test"]
    assert kind == "CMD"

    def run(port: int) -> int:
        # Compose turns $$ into $.
        words = [w.replace(CONTAINER_PORTS[server], str(port)).replace("$$", "$") for w in script]
        # Docker, too, counts a check that takes too long as failed.
        command = ["timeout", "5", *words]
        return subprocess.run(command, capture_output=True, check=False).returncode

    return run


def test_a_server_that_answers_is_healthy(stack: LocalStack, server: str, check: Check) -> None:
    """The check speaks enough of the server's protocol to be answered."""
    record = read_record(stack.directory)
    assert record
    assert check(record.ports[server]) == 0


def test_a_server_that_is_down_is_unhealthy(check: Check) -> None:
    assert check(free_port(set())) != 0


def test_another_server_is_not_taken_for_it(stack: LocalStack, server: str, check: Check) -> None:
    """An open port is not enough: the answer must be the server's own."""
    record = read_record(stack.directory)
    assert record
    other = "elasticsearch" if server == "kafka" else "kafka"
    assert check(record.ports[other]) != 0
