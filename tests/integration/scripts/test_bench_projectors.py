"""`rollbook bench projectors` measures every figure on real servers; no time fails a test."""

import json
from contextlib import closing
from importlib.util import find_spec
from typing import Any

import pytest

from projectors.elasticsearch.client import connect
from projectors.postgres.store.database import Database
from runtime.kafka import admin
from runtime.settings import Settings
from tests.processes import Rollbook

RATES = {
    "postgres_live_per_second",
    "postgres_rebuild_per_second",
    "copy_into_table_per_second",
    "copy_into_heap_per_second",
    "elasticsearch_live_per_second",
    "bulk_per_second",
    "postgres_live_vs_copy_limit",
    "elasticsearch_vs_bulk_limit",
    "rebuild_after_updates_ratio",
    "projector_rss_mb",
    "search_hit_at_1",
}
OF_DEBEZIUM = {"debezium_per_second", "postgres_live_vs_debezium"}
OF_QUIX = {"postgres_live_vs_quix", "postgres_rebuild_vs_quix", "elasticsearch_vs_quix"}


@pytest.mark.timeout(600)
def test_every_figure_is_measured_and_nothing_is_left_behind(
    rollbook: Rollbook, settings: Settings
) -> None:
    """One JSON object with the spread of each figure; if a peer cannot run, null and the reason."""
    small = ["--users", "20000", "--queries-users", "2000", "--repeats", "1", "--json"]
    # Other tests may run benchmarks on this stack at the same time.
    before = left_over(settings)
    done = rollbook.run("bench", "projectors", *small, timeout_seconds=580)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    measured = set(RATES)
    for of_peer, peer in ((OF_DEBEZIUM, "debezium"), (OF_QUIX, "quix_postgres")):
        if peer in result["unavailable"]:
            assert {name: result[name] for name in of_peer} == dict.fromkeys(of_peer)
        else:
            measured |= of_peer
    assert ("quix_postgres" in result["unavailable"]) == (find_spec("quixstreams") is None)
    assert {name for name in measured if not is_spread(result[name])} == set()
    for kind in ("visible_ms", "visible_under_load_ms", "query_ms"):
        for name, cuts in result[kind].items():
            assert is_spread(cuts["p50"]), name
            assert is_spread(cuts["p99"]), name
    assert all(map(is_spread, result["search_generated_hit_at_1"].values()))
    assert left_over(settings) <= before


def is_spread(value: Any) -> bool:
    """Return whether it is the spread of one repeat."""
    return set(value) == {"median", "least", "greatest", "repeats"} and value["repeats"] == 1


def left_over(settings: Settings) -> set[str]:
    """Return the topics, schemas and indexes of benchmarks."""
    topics = set(admin(settings).list_topics(timeout=10).topics)
    with closing(Database(settings)) as database, database.session() as connection:
        schemas = {name for (name,) in connection.execute("SELECT nspname FROM pg_namespace")}
    with closing(connect(settings)) as client:
        indexes = set(client.indices.get(index="bench-*", expand_wildcards="all").body)
    return {name for name in topics | schemas | indexes if name.startswith("bench")}
