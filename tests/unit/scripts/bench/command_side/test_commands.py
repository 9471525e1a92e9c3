"""`rollbook bench commands` without servers: its ratios, its JSON object, its requirements."""

import sys

import pytest
from click.testing import CliRunner

from runtime.command_line.terminal import EXIT_USAGE
from runtime.settings import Settings
from schemas.errors import Misconfigured
from scripts.bench.command_side.commands import CommandFindings, Plan, as_json, as_rows
from scripts.bench.command_side.lone_client import STEPS
from scripts.bench.peers.eventsourcing_library import PeerSetup, peer_setups
from scripts.bench.report.measure import Findings, machine
from scripts.bench.workload.processes import environment_of
from scripts.cli import bench_is_absent, rollbook

PEERS = tuple(peer_setups(4))
SPREAD = {"median", "least", "greatest", "repeats"}


@pytest.fixture
def findings() -> CommandFindings:
    """Two repeats, the second on a machine of half the speed."""
    plan = Plan(1000, 2, 5000, PEERS, 1.0, as_json=True)
    found = Findings(as_json=True)
    for speed in (2.0, 1.0):
        for name, value in {
            "creates_per_second": 500,
            "closed_loop_creates_per_second": 5,
            "single_command_ms p50": 5,
            "single_command_ms p99": 9,
            **{f"single_command_mean_ms {step}": 2 for step in STEPS},
            "passthrough_per_second": 1000,
            "passthrough_commands_per_transaction": 10_000,
            "two_process_creates_per_second": 750,
            "restore_users_per_second": 100,
            "restore_old_users_per_second": 150,
            "bytes_per_user": 200,
            "window_bytes_per_command": 300,
        }.items():
            found.add(name, speed * value)
        for setup in PEERS:
            found.add(str(setup), speed * 10 * setup.clients)
    durability = {"creates_per_second": "ours", "on": "all", "off": "some"}
    return CommandFindings(plan, found, durability, machine())


def test_ratios_are_taken_within_a_repeat(
    findings: CommandFindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that slows down between repeats changes no ratio."""
    monkeypatch.setattr("scripts.bench.peers.eventsourcing_library.peer_version", lambda: "9")
    result = as_json(findings)
    assert result["creates_per_second"] | {"repeats": 2} == {
        "median": 750.0,
        "least": 500.0,
        "greatest": 1000.0,
        "repeats": 2,
    }
    for name, ratio in {
        "vs_passthrough": 0.5,
        "two_process_speedup": 1.5,
        "vs_eventsourcing": 50.0,
        "closed_loop_vs_eventsourcing": 0.5,
    }.items():
        assert result[name] == {"median": ratio, "least": ratio, "greatest": ratio, "repeats": 2}
    assert set(result["single_command_ms"]["p99"]) == SPREAD
    one, four = (
        next(m for m in result["eventsourcing"]["measured"] if m["clients"] == clients)
        for clients in (1, 4)
    )
    assert one["ours_over_it"]["median"] == 50
    assert four["ours_over_it"]["median"] == 12.5


def test_without_the_peer_its_figures_are_absent(findings: CommandFindings) -> None:
    for setup in PEERS:
        del findings.figures.values[str(setup)]
    findings.plan = Plan(1000, 2, 5000, (), 1.0, as_json=True)
    result = as_json(findings)
    assert "vs_eventsourcing" not in result
    assert "eventsourcing" not in result
    assert {"cpus", "memory_gib", "busy_before"} <= set(result["machine"])


def test_the_table_names_the_failures_that_lose_nothing(findings: CommandFindings) -> None:
    """For ours and for each way of running the peer."""
    survives = {name: durability for name, _, _, durability in as_rows(findings)}
    assert survives["creates_per_second"] == "ours"
    assert survives[str(PeerSetup(1, "on", functions=False))] == "all"
    assert survives[str(PeerSetup(4, "off", functions=True))] == "some"


def test_a_missing_peer_is_reported_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says how to install it."""
    monkeypatch.setitem(sys.modules, "eventsourcing", None)
    result = CliRunner().invoke(rollbook, ["bench", "commands"])
    assert isinstance(result.exception, Misconfigured)
    assert result.exception.code == "peer_not_installed"
    assert "uv sync --group benchmark" in result.exception.next_step


def test_without_the_benchmarks_one_sentence_says_where_they_are() -> None:
    """An installed wheel has no `scripts.bench`; it exits with 2 whatever was asked for."""
    result = CliRunner().invoke(bench_is_absent, ["commands", "--json"])
    assert result.exit_code == EXIT_USAGE
    assert "Benchmarks run from a checkout" in result.stderr


def test_a_process_of_ours_gets_every_setting() -> None:
    """Including those from a flag or from a file that it would not find."""
    environment = environment_of(Settings(prefix="x", partitions=3, kafka_sasl_password="s3cret"))
    assert environment["ROLLBOOK_PREFIX"] == "x"
    assert environment["ROLLBOOK_PARTITIONS"] == "3"
    assert environment["ROLLBOOK_KAFKA_SASL_PASSWORD"] == "s3cret"
