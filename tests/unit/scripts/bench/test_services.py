"""`rollbook bench services` without servers: its clients, ratios, JSON object and tables."""

import os
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson
import pytest

from schemas.errors import CheckFailed
from scripts.bench.report.measure import Findings
from scripts.bench.report.services import service_tables
from scripts.bench.services.findings import KINDS, OF_PEER, PROCESSES, Plan, as_json, as_rows
from scripts.bench.services.load import Target, run_clients
from scripts.bench.workload.http_service import Service, running_services
from scripts.stack.places import free_port

PLAN = Plan(1_000, (1, 64), 1.0, 500, 2, with_peer=True, as_json=True)
PER_SECOND = {
    "noop": 1_000,
    "bare_noop": 2_000,
    "get": 800,
    "create": 600,
    "python_create": 750,
    "peer_get": 400,
    "peer_create": 100,
}


def findings(kinds: tuple[str, ...] = tuple(KINDS)) -> Findings:
    """Return every figure, two repeats, the second on a machine of half the speed."""
    found = Findings(as_json=True)
    for speed in (1.0, 0.5):
        for kind in kinds:
            for clients in PLAN.clients:
                name = f"{kind} {clients}"
                found.add(f"{name} per_second", speed * PER_SECOND[kind])
                found.add_percentiles(f"{name} ms", [1.0, 2.0, 3.0])
                for process in PROCESSES:
                    found.add(f"{name} us {process}", 10 / speed)
        found.add("streamed_per_second", speed * 5_000)
        found.add("imported_per_second", speed * 10_000)
    return found


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("scripts.bench.services.findings.peer_version", lambda: "9")
    return as_json(PLAN, findings(), {})


def test_ratios_are_taken_within_a_repeat(result: dict[str, Any]) -> None:
    """A machine that slows down between repeats changes no ratio."""
    for name, ratio in {
        "get_vs_noop": 0.8,
        "create_vs_noop": 0.6,
        "create_vs_python": 0.8,
        "get_vs_peer": 2.0,
        "create_vs_peer": 6.0,
    }.items():
        spread = {"median": ratio, "least": ratio, "greatest": ratio, "repeats": 2}
        assert result[name] == {"1": spread, "64": spread}
    assert result["streamed_vs_imported"]["median"] == 0.5


def test_each_kind_of_request_has_rate_latency_and_processor_time(result: dict[str, Any]) -> None:
    assert result["clients"] == [1, 64]
    assert set(result["measured"]) == set(KINDS)
    for of_clients in result["measured"].values():
        for measured in of_clients.values():
            assert set(measured) == {"per_second", "ms", "processor_us"}
            assert set(measured["processor_us"]) == set(PROCESSES)
            assert measured["ms"]["p50"]["median"] == 2


def test_without_the_peer_its_figures_are_absent() -> None:
    plan = Plan(1_000, (1, 64), 1.0, 500, 2, with_peer=False, as_json=True)
    ours = findings(tuple(kind for kind in KINDS if kind not in OF_PEER))
    result = as_json(plan, ours, {})
    assert not {"peer", "get_vs_peer", "create_vs_peer"} & set(result)
    assert set(result["measured"]) == set(KINDS) - set(OF_PEER)


def test_goals_stand_beside_ratios() -> None:
    goals = {name: goal for name, _, goal in as_rows(PLAN, findings())}
    assert goals["get_vs_noop 1"] == "≥ 0.6"
    assert goals["streamed_vs_imported"] == "≥ 0.5"
    assert goals["create_vs_noop 1"] == ""


def test_the_tables_add_up_the_processor_time(result: dict[str, Any]) -> None:
    tables = service_tables(result)
    assert tables["services-processor"].endswith("| 15 | 15 | 15 | 15 | 15 | 15 | 90 |")
    assert "| creation / no-op | 0.600 (0.600 to 0.600) |" in tables["services-ratios"]


def test_requests_differ_from_each_other() -> None:
    """Creations are of different users, gets of random ones; each is complete."""
    creations = list(islice(Target((1,), "key", tag="tag").requests(), 100))
    heads, bodies = zip(*(one.split(b"\r\n\r\n") for one in creations), strict=True)
    assert len({orjson.loads(body)["email"] for body in bodies}) == 100
    assert all(b"Authorization: Bearer key\r\n" in head for head in heads)
    assert all(b"Content-Length: %d" % len(b) in h for h, b in zip(heads, bodies, strict=True))
    gets = set(islice(Target((1,), user_ids=["a", "b"]).requests(), 100))
    assert {one.split()[1] for one in gets} == {b"/users/a", b"/users/b"}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a no-op service."""
    port = free_port(set())
    command = [sys.executable, "-m", "scripts.bench.services.noop", "bare_noop", str(port)]
    with running_services(Service(command, os.environ, port, "/noop")):
        yield port


def test_clients_count_answers(port: int) -> None:
    found = run_clients(Target((port,)), clients=3, seconds=0.2)
    assert found.answers > len(found.milliseconds) > 0
    assert found.per_second == len(found.milliseconds) / 0.2
    assert min(found.milliseconds) > 0
    assert found.processor_seconds > 0


def test_an_unexpected_status_fails_the_run(port: int) -> None:
    """Refusals are quick: counted as answers, they would flatter a service."""
    with pytest.raises(CheckFailed, match="status 404 instead of 200"):
        run_clients(Target((port,), user_ids=["unknown"]), clients=32, seconds=0.2)
