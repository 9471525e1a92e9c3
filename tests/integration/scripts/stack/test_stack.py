"""The local stack itself, which every other integration test depends on."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from schemas.errors import Misconfigured, Unavailable
from scripts.stack.native.local import LocalStack
from scripts.stack.native.programs import MARK
from scripts.stack.record import servers_data
from tests.started.processes import eventually


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """A second stack in a separate folder, removed after the test."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    other = LocalStack("other")
    yield other
    other.down(wipe=True)


def processes_of(stack: LocalStack) -> list[int]:
    """Return the ids of all processes that the stack started."""
    return [
        process.pid
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get(MARK) == str(stack.directory)
    ]


def test_a_second_up_changes_nothing(stack: LocalStack) -> None:
    before = stack.servers()
    started = stack.up(free_ports=True)
    assert started.was_running
    assert started.started == []
    assert {n: s.pid for n, s in stack.servers().items()} == {n: s.pid for n, s in before.items()}
    assert started.ports["kafka"] == before["kafka"].port


def test_a_port_in_use_is_named_with_its_server(stack: LocalStack, other: LocalStack) -> None:
    """The message says which port, which server needs it, and how to choose another."""
    port = stack.servers()["postgres"].port
    assert port
    with pytest.raises(Misconfigured, match=f"port {port} .*postgres") as refused:
        other.up(ports={"postgres": port}, free_ports=True)
    assert "--port postgres=" in refused.value.next_step
    assert processes_of(other) == []


def test_a_server_that_dies_while_starting_is_named_with_its_log(
    stack: LocalStack, other: LocalStack
) -> None:
    """The error has the log's path and last lines; only servers of this stack are stopped."""
    neighbours = {name: server.pid for name, server in stack.servers().items()}
    broken = servers_data(other.directory) / "kafka" / "log"
    broken.mkdir(parents=True)
    (broken / "meta.properties").write_text("version=999\n")
    with pytest.raises(Unavailable, match="kafka died while starting") as failure:
        other.up(free_ports=True, servers=("kafka",))
    assert str(other.supervisor.log("kafka")) in str(failure.value)
    assert "meta.properties" in str(failure.value)
    assert processes_of(other) == []
    assert {name: server.pid for name, server in stack.servers().items()} == neighbours


def test_a_service_that_dies_is_restarted_unless_it_is_misconfigured(
    other: LocalStack, tmp_path: Path
) -> None:
    """A killed service gets the same settings again; exit code 2 is final."""
    other.supervisor.start()
    written = tmp_path / "environment.json"
    write = f"import json, os, time; json.dump(dict(os.environ), open({str(written)!r}, 'w'))"
    asleep = [sys.executable, "-c", f"{write}; time.sleep(600)"]
    other.add_service("asleep", asleep, environment={"ROLLBOOK_PREFIX": 'it\'s 100% "mine"'})
    eventually(lambda: written.exists() and written.read_text().endswith("}"), what="it runs")
    environment = json.loads(written.read_text())
    assert environment["ROLLBOOK_PREFIX"] == 'it\'s 100% "mine"'
    assert environment["ROLLBOOK_CONFIG"] == str(other.config_file)

    killed = other.services()["asleep"].pid
    assert killed is not None
    os.killpg(killed, signal.SIGKILL)
    eventually(lambda: other.services()["asleep"].pid not in (None, killed), what="it runs again")

    attempts = tmp_path / "attempts"
    fail = f"open({str(attempts)!r}, 'a').write('x'); raise SystemExit(1)"
    other.add_service("failing", [sys.executable, "-c", fail])
    eventually(lambda: attempts.exists() and len(attempts.read_text()) > 2, what="3 attempts")
    other.supervisor.stop("failing")
    assert other.services()["failing"].state in {"stopped", "exited"}

    other.add_service("wrong", [sys.executable, "-c", "raise SystemExit(2)"])
    eventually(lambda: other.services()["wrong"].state == "exited", what="it is not restarted")


def test_down_stops_what_a_killed_supervisor_left(other: LocalStack, tmp_path: Path) -> None:
    other.supervisor.start()
    started = tmp_path / "started"
    code = f"import time; open({str(started)!r}, 'w'); time.sleep(600)"
    other.add_service("asleep", [sys.executable, "-c", code])
    eventually(started.exists, what="the service runs")
    os.kill(other.supervisor.pid(), signal.SIGKILL)
    eventually(lambda: not other.supervisor.runs(), what="the supervisor is dead")
    assert processes_of(other) != []
    assert other.down() is True
    assert processes_of(other) == []
    assert not other.config_file.exists()
