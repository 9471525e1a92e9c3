"""`rollbook bench` on real servers: every promised figure is measured and nothing is left behind.

The tests are in one file, and so in one worker, because each lists what another may be using.
"""

import json
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from projectors.elasticsearch.client import connect
from projectors.postgres.store.database import Database
from runtime.kafka.clients import admin
from runtime.settings import Settings
from scripts.bench.every import PARTS
from scripts.stack.native.local import LocalStack
from tests.depth import DEEP, depth
from tests.started.processes import Rollbook, eventually

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
    "restore_old_users_per_second",
}
RATES = {
    "postgres_live_per_second",
    "postgres_rebuild_per_second",
    "copy_into_table_per_second",
    "copy_into_heap_per_second",
    "elasticsearch_live_per_second",
    "bulk_per_second",
    "postgres_live_vs_copy_limit",
    "elasticsearch_vs_bulk_limit",
    "projector_rss_mb",
    "search_hit_at_1",
    "search_held_out_hit_at_1",
}
PERCENTILES = ("visible_ms", "visible_under_load_ms", "query_ms")
OF_DEBEZIUM = {"debezium_per_second", "postgres_live_vs_debezium"}
OF_QUIX = {"postgres_live_vs_quix", "postgres_rebuild_vs_quix", "elasticsearch_vs_quix"}


@pytest.mark.timeout(300)
@pytest.mark.skipif(not DEEP, reason="takes half a minute; `make test-deep` runs it")
def test_commands_are_measured(rollbook: Rollbook, settings: Settings) -> None:
    """Each figure has its spread; those of the peer are there if its group is installed."""
    with_peer = find_spec("eventsourcing") is not None
    small = ["--users", "300", "--repeats", "1", "--state-users", "2000", "--peer-seconds", "0.1"]
    asked = [*small, "--json"] if with_peer else [*small, "--without-peer", "--json"]
    done = rollbook.run("bench", "commands", *asked, timeout_seconds=280)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {name for name in SPREADS if not is_spread(result[name])} == set()
    assert result["single_command_ms"]["p50"]["median"] > 0
    assert result["single_command_ms"]["p99"]["median"] > 0
    assert all(step["median"] > 0 for step in result["single_command_mean_ms"].values())
    for ratio in ("vs_eventsourcing", "closed_loop_vs_eventsourcing"):
        assert (ratio in result) == with_peer
    assert result["users"] == 300
    check_nothing_left(settings)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not DEEP, reason="starts six processes; `make test-deep` runs it")
def test_services_are_measured(rollbook: Rollbook, settings: Settings) -> None:
    """Every answer is the expected one, and `POST /commands` creates all of its users."""
    with_peer = find_spec("eventsourcing") is not None
    small = ["--users", "300", "--clients", "4", "--seconds", "0.3", "--lines", "200"]
    asked = [*small, "--repeats", "1", "--json", *([] if with_peer else ["--without-peer"])]
    done = rollbook.run("bench", "services", *asked, timeout_seconds=280)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for ratio in ("get_vs_noop", "create_vs_noop", "create_vs_python"):
        assert is_spread(result[ratio]["4"])
    assert ("create_vs_peer" in result) == with_peer
    assert is_spread(result["streamed_vs_imported"])
    for of_clients in result["measured"].values():
        assert is_spread(of_clients["4"]["ms"]["p99"])
        assert {"client", "kafka", "postgres"} <= set(of_clients["4"]["processor_us"])
    check_nothing_left(settings)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not DEEP, reason="starts a second stack; `make test-deep` runs it")
def test_access_is_measured(
    rollbook: Rollbook, stack: LocalStack, secure_stack: LocalStack
) -> None:
    """Each figure has its ratio of secure to plain."""
    sides = ("--plain", stack.directory.name, "--secure", secure_stack.directory.name)
    small = ("--users", "300", "--seconds", "0.5", "--repeats", "1", "--json")
    done = rollbook.run("bench", "access", *sides, *small, timeout_seconds=580)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    figures = [name.partition(" ")[2] for name in result if name.startswith("plain ")]
    assert "rebuild users per_second" in figures
    for figure in figures:
        assert is_spread(result[f"ratio of {figure}"])
    swapped = (sides[0], sides[3], sides[2], sides[1])
    assert rollbook.run("bench", "access", *swapped).returncode == 2


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
def test_all_parts_are_measured_in_one_call(
    rollbook: Rollbook, settings: Settings, tmp_path: Path
) -> None:
    """Its object has the figures of every part at the top, and each part has a file."""
    without = [] if find_spec("eventsourcing") is not None else ["--without-peer"]
    asked = ["--short", *without, "--figures", str(tmp_path / "figures"), "--json"]
    done = rollbook.run("bench", "all", *asked, timeout_seconds=1180)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {name for name in SPREADS if not is_spread(result[name])} == set()
    assert is_spread(result["rebuild_after_updates_ratio"])
    assert set(result["runs"]) == set(PARTS)
    written = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert written == set(PARTS)
    assert [one["users"] for one in result["sizes"]] == [1000]
    clients = json.loads((tmp_path / "figures" / "clients.json").read_text("utf-8"))
    assert clients["measured"]["rollbook"]["update"]["8"]["per_second"]["median"] > 0
    check_nothing_left(settings)


@pytest.mark.timeout(600)
def test_projectors_are_measured(rollbook: Rollbook, settings: Settings) -> None:
    """`make test` measures one part, small; all of them take minutes."""
    users = depth(("--users", "1000", "--only", "rebuild"), ("--users", "20000"))
    small = ("--queries-users", "1000", "--repeats", "1", "--json")
    done = rollbook.run("bench", "projectors", *users, *small, timeout_seconds=580)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert is_spread(result["rebuild_after_updates_ratio"])
    if DEEP:
        check_all_parts(result)
    check_nothing_left(settings)


def check_all_parts(result: dict[str, Any]) -> None:
    """Fail unless each figure has its spread; those of a peer that cannot run are null."""
    measured = set(RATES)
    for of_peer, peer in ((OF_DEBEZIUM, "debezium"), (OF_QUIX, "quix_postgres")):
        if peer in result["unavailable"]:
            assert {name: result[name] for name in of_peer} == dict.fromkeys(of_peer)
        else:
            measured |= of_peer
    assert {name for name in measured if not is_spread(result[name])} == set()
    several = result["readers"].values()
    assert all(is_spread(one["per_second"]) for one in several)
    cuts = [cut for kind in PERCENTILES for cut in result[kind].values()]
    cuts += [cut for one in several for cut in one["query_ms"].values()]
    assert all(is_spread(one) for cut in cuts for one in cut.values())
    assert all(map(is_spread, result["search_generated_hit_at_1"].values()))


def is_spread(value: Any) -> bool:
    """Return whether `value` is the spread of one repeat."""
    return set(value) == {"median", "least", "greatest", "repeats"} and value["repeats"] == 1


def check_nothing_left(settings: Settings) -> None:
    """Fail if a benchmark left anything.

    The controller confirms a deletion before each broker has removed the topic from its metadata.
    """
    eventually(lambda: not left_over(settings), what="nothing named bench left")


def left_over(settings: Settings) -> set[str]:
    """Return the topics, schemas and indexes that a benchmark left."""
    topics = set(admin(settings).list_topics(timeout=10).topics)
    with closing(Database(settings)) as database, database.session() as connection:
        schemas = {name for (name,) in connection.execute("SELECT nspname FROM pg_namespace")}
    with closing(connect(settings)) as client:
        indexes = set(client.indices.get(index="bench-*", expand_wildcards="all").body)
    return {name for name in topics | schemas | indexes if name.startswith("bench")}
