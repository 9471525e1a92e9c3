"""`rollbook bench commands` measures every figure on real servers; no test depends on a time."""

import json
from importlib.util import find_spec

import pytest

from runtime.kafka import admin
from runtime.settings import Settings
from tests.processes import Rollbook

SPREADS = {
    "creates_per_second",
    "closed_loop_creates_per_second",
    "passthrough_per_second",
    "two_process_creates_per_second",
    "vs_passthrough",
    "two_process_speedup",
    "bytes_per_user",
    "window_bytes_per_command",
    "restore_users_per_second",
}


@pytest.mark.timeout(300)
def test_every_figure_is_measured_and_nothing_is_left_behind(
    rollbook: Rollbook, settings: Settings
) -> None:
    """One JSON object with each figure's spread; the peer if its group is installed."""
    with_peer = find_spec("eventsourcing") is not None
    small = ["--users", "300", "--repeats", "1", "--state-users", "2000", "--peer-seconds", "0.1"]
    # Other tests may run benchmarks on this stack at the same time.
    before = benchmark_topics(settings)
    asked = [*small, "--json"] if with_peer else [*small, "--without-peer", "--json"]
    done = rollbook.run("bench", "commands", *asked, timeout_seconds=280)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for name in SPREADS:
        assert set(result[name]) == {"median", "least", "greatest", "repeats"}, name
        assert result[name]["repeats"] == 1
    assert result["single_command_ms"]["p50"]["median"] > 0
    assert result["single_command_ms"]["p99"]["median"] > 0
    for ratio in ("vs_eventsourcing", "closed_loop_vs_eventsourcing"):
        assert (ratio in result) == with_peer
    assert result["users"] == 300
    assert benchmark_topics(settings) <= before


def benchmark_topics(settings: Settings) -> set[str]:
    """Return the topics of benchmarks."""
    topics = admin(settings).list_topics(timeout=10).topics
    return {name for name in topics if name.startswith("bench-")}
