"""`rollbook bench commands` without servers: its ratios, its one object, what it asks for."""

import sys

import pytest
from click.testing import CliRunner

from runtime.settings import Settings
from runtime.terminal import EXIT_USAGE
from schemas.errors import Misconfigured
from scripts.bench.command_side import Findings, Plan, as_json, as_rows
from scripts.bench.handlers import environment_of
from scripts.bench.passthrough import Written
from scripts.bench.peer import PeerSetup, peer_setups
from scripts.bench.registry_under_test import MEASURED_TAG, command_id
from scripts.cli import bench_is_absent, rollbook

PEERS = tuple(peer_setups(4))
SPREAD = {"median", "least", "greatest", "repeats"}


@pytest.fixture
def findings() -> Findings:
    """Two repeats, the second on a machine of half the speed."""
    found = Findings(Plan(1000, 2, 5000, PEERS, 1.0, as_json=True))
    found.durability = {"creates_per_second": "ours", "on": "all", "off": "some"}
    for speed in (2.0, 1.0):
        for name, value in {
            "creates_per_second": 500,
            "single_command_ms p50": 5,
            "single_command_ms p99": 9,
            "passthrough_per_second": 1000,
            "two_process_creates_per_second": 750,
            "restore_users_per_second": 100,
            "bytes_per_user": 200,
            "window_bytes_per_command": 300,
        }.items():
            found.add(name, speed * value)
        for setup in PEERS:
            found.add_peer(setup, speed * 10 * setup.clients)
    return found


def test_ratios_are_of_one_repeat(findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slows down between repeats moves no ratio."""
    monkeypatch.setattr("scripts.bench.peer.peer_version", lambda: "9")
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
    }.items():
        assert result[name] == {"median": ratio, "least": ratio, "greatest": ratio, "repeats": 2}
    assert set(result["single_command_ms"]["p99"]) == SPREAD
    one, four = (
        next(m for m in result["eventsourcing"]["measured"] if m["clients"] == clients)
        for clients in (1, 4)
    )
    assert one["ours_over_it"]["median"] == 50
    assert four["ours_over_it"]["median"] == 12.5


def test_without_the_peer_nothing_is_said_of_it(findings: Findings) -> None:
    findings.peers.clear()
    findings.plan = Plan(1000, 2, 5000, (), 1.0, as_json=True)
    result = as_json(findings)
    assert "vs_eventsourcing" not in result
    assert "eventsourcing" not in result
    assert {"cpus", "memory_gib"} <= set(result["machine"])


def test_the_table_tells_what_survives(findings: Findings) -> None:
    """Ours and each way of running the peer name the failures that lose nothing."""
    survives = {name: durability for name, _, _, durability in as_rows(findings)}
    assert survives["creates_per_second"] == "ours"
    assert survives[str(PeerSetup(1, "on", functions=False))] == "all"
    assert survives[str(PeerSetup(4, "off", functions=True))] == "some"


def test_a_missing_peer_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says how to install it, or how to do without."""
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


def test_the_limit_commits_as_much_at_once_as_the_handler() -> None:
    """Markers split the measured commands into transactions; warming up does not count."""
    written = Written()
    place = ("user-outcomes", 0)
    tags = ["warm", *4 * [MEASURED_TAG], "lone"]
    ids = [command_id(tag, number) for number, tag in enumerate(tags)]
    written.records[place] = [{"key": one.encode()} for one in ids]
    written.offsets[place] = [0, 2, 3, 5, 6, 8]
    written.records["user-events", 0] = [{"key": ids[1].encode()}]
    written.offsets["user-events", 0] = [0]
    assert written.commands_per_transaction(10) == 2
    assert written.commands_per_transaction(1) == 1


def test_a_process_of_ours_gets_every_setting() -> None:
    """Also those that came from a flag or a file that it would not find."""
    environment = environment_of(Settings(prefix="x", partitions=3, kafka_sasl_password="s3cret"))
    assert environment["ROLLBOOK_PREFIX"] == "x"
    assert environment["ROLLBOOK_PARTITIONS"] == "3"
    assert environment["ROLLBOOK_KAFKA_SASL_PASSWORD"] == "s3cret"
