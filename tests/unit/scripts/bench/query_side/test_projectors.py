"""`rollbook bench projectors` without servers: its rates, ratios, JSON object and users."""

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest

from schemas.errors import CheckFailed, Unavailable
from schemas.fields.rules import AGE_MAX_YEARS, clean_email, clean_name
from schemas.identity import partition_of, user_shard
from schemas.trust import check_event
from scripts.bench.peers import debezium, quix
from scripts.bench.query_side.projector_findings import (
    FIGURES,
    PARTS,
    PEERS,
    Plan,
    as_json,
    as_rows,
)
from scripts.bench.report.measure import Findings
from scripts.bench.search.rates import KINDS, generated_queries
from scripts.bench.workload.event_log import events
from scripts.bench.workload.people import people, person
from scripts.bench.workload.rate import Seen, filling_rate, rate_between

SPREAD = {"median", "least", "greatest", "repeats"}
RATIOS = {
    "postgres_live_vs_debezium": 2.0,
    "postgres_two_processes_vs_debezium": 2.5,
    "postgres_live_vs_quix": 4.0,
    "postgres_rebuild_vs_quix": 6.0,
    "postgres_live_vs_copy_limit": 0.5,
    "elasticsearch_vs_quix": 5.0,
    "elasticsearch_vs_bulk_limit": 0.5,
    "rebuild_after_updates_ratio": 1.25,
}
STORES = ("postgres", "elasticsearch")
QUERIES = ("get", "list", "summary", "search", "suggest")


PLAN = Plan(20_000, 1_000, 2, frozenset(PARTS), as_json=True)


def findings(*, speeds: tuple[float, ...] = (2.0, 1.0)) -> Findings:
    """Return every figure, one repeat on a machine of each speed."""
    found = Findings(as_json=True)
    for speed in speeds:
        for name, value in {
            "postgres_live_per_second": 40,
            "postgres_rebuild_per_second": 60,
            "postgres_two_processes_per_second": 75,
            "debezium_per_second": 20,
            "debezium_two_tasks_per_second": 30,
            "quix_postgres_per_second": 10,
            "copy_into_table_per_second": 80,
            "copy_into_heap_per_second": 500,
            "elasticsearch_live_per_second": 25,
            "quix_elasticsearch_per_second": 5,
            "bulk_per_second": 50,
            "rebuild_plain_seconds": 4,
            "rebuild_compacted_seconds": 5,
            "projector_rss_mb": 100,
            **{f"visible_ms {store} {cut}": 7 for store in STORES for cut in ("p50", "p99")},
            **{f"visible_under_load_ms {s} {cut}": 9 for s in STORES for cut in ("p50", "p99")},
            **{f"query_ms {query} {cut}": 3 for query in QUERIES for cut in ("p50", "p99")},
            "readers 8 per_second": 900,
            **{f"readers 8 {query} {cut}": 5 for query in QUERIES for cut in ("p50", "p99")},
        }.items():
            found.add(name, speed * value)
    found.add("search_hit_at_1", 0.97)
    return found


def test_ratios_are_taken_within_a_repeat() -> None:
    """A machine that slows down between repeats changes no ratio."""
    result = as_json(PLAN, findings(), {})
    for name, ratio in RATIOS.items():
        assert result[name] == {"median": ratio, "least": ratio, "greatest": ratio, "repeats": 2}


def test_what_was_not_measured_is_null() -> None:
    """The object has the same keys whatever was asked for."""
    nothing = as_json(PLAN, Findings(as_json=True), {})
    assert {name: nothing[name] for name in RATIOS} == dict.fromkeys(RATIOS)
    assert nothing["projector_rss_mb"] is None
    assert nothing["search_generated_hit_at_1"] == dict.fromkeys(KINDS)
    assert nothing["visible_ms"] == nothing["visible_under_load_ms"]
    assert nothing["visible_ms"] == {store: {"p50": None, "p99": None} for store in STORES}
    assert nothing["query_ms"] == {query: {"p50": None, "p99": None} for query in QUERIES}
    assert set(nothing["readers"]) == {"8", "32"}
    assert nothing["readers"]["32"] == {"per_second": None, "query_ms": nothing["query_ms"]}
    assert nothing["guarantees"] == {}


def test_queries_of_several_readers_are_listed_by_their_number() -> None:
    result = as_json(PLAN, findings(), {})["readers"]
    assert result["8"]["per_second"]["median"] == 1350.0
    assert result["8"]["query_ms"]["get"]["p99"]["median"] == 7.5
    assert result["32"]["query_ms"]["get"]["p99"] is None


def test_a_peer_that_failed_has_a_reason_and_no_figure() -> None:
    """Figures of earlier repeats are dropped: they would be compared with other repeats of ours."""
    found = findings()
    found.leave_out("debezium", Unavailable("there is no network"), FIGURES["debezium"])
    result = as_json(PLAN, found, {})
    assert result["postgres_live_vs_debezium"] is None
    assert result["postgres_two_processes_vs_debezium"] is None
    assert result["postgres_live_vs_quix"]["median"] == 4.0
    assert result["unavailable"] == {"debezium": "there is no network"}
    rows = {name: shown for name, shown, _, _ in as_rows(found)}
    assert "debezium_per_second" not in rows
    assert rows["debezium"] == "not measured: there is no network"


def test_the_table_names_the_guarantee_of_each_writer() -> None:
    """Ours, every peer and the upper bounds; goals stand beside ratios."""
    rows = {name: (goal, guarantee) for name, _, goal, guarantee in as_rows(findings())}
    assert rows["postgres_live_vs_debezium"][0] == "≥ 2"
    written = [name for name in rows if name.endswith("_per_second")]
    assert {name for name in written if not rows[name][1]} == set()
    assert set(PEERS.values()) <= set(written)


def counted(values: list[int]) -> Callable[[], int]:
    """Return a function that counts these values, and then repeats the last one."""

    def numbers() -> Iterator[int]:
        yield from values
        while True:
            yield values[-1]

    counts = numbers()
    return lambda: next(counts)


def test_a_rate_is_measured_from_a_tenth_on() -> None:
    assert rate_between(Seen(100, 3.0), Seen(1100, 5.0)) == 500
    assert filling_rate(counted([0, 5, 100, 1000]), 1000, lambda: True) > 0


def test_a_store_that_was_full_at_the_first_look_has_no_rate() -> None:
    with pytest.raises(CheckFailed, match="measure more users"):
        filling_rate(counted([1000]), 1000, lambda: True)


def test_a_process_that_ends_before_the_store_is_full_fails_the_check() -> None:
    with pytest.raises(CheckFailed, match="5 of 1,000 users"):
        filling_rate(counted([5]), 1000, lambda: False)


def test_events_are_valid() -> None:
    """Projectors would write dead letters for any other."""
    for version in (1, 2, 3):
        for seq, event in enumerate(events(50, version), 1):
            partition = partition_of(user_shard(event["user_id"]), 8)
            check_event(event | {"seq": seq}, event["user_id"].encode(), partition, 8)
            assert bool(event["changes"]) == (version > 1)


def test_people_are_valid_users_with_different_addresses() -> None:
    """In all languages, and some share a name; another tag gives another address."""
    some = list(people(3000))
    assert person(1234) == some[1234]
    assert len({one.email for one in (*some, *people(3000, "tag"))}) == 6000
    for one in some:
        assert (one.email, one.name) == (clean_email(one.email), clean_name(one.name))
        assert 0 <= one.age <= AGE_MAX_YEARS
    assert 1000 < len({one.name for one in some}) <= 3000


@pytest.mark.parametrize("kind", KINDS)
def test_generated_queries_differ_from_what_they_mean(kind: str) -> None:
    """They are the same in every run."""
    queries = generated_queries(kind)
    assert queries == generated_queries(kind)
    assert len({text for text, _ in queries}) > 250
    changed = sum(text not in (meant.name, meant.email) for text, meant in queries)
    assert changed > 0.9 * len(queries)


def test_the_named_versions_of_the_peers_are_the_pinned_ones() -> None:
    pom = resources.files("scripts.bench.peers").joinpath("pom.xml").read_text(encoding="utf-8")
    assert "<debezium.version>3.6.0.Final<" in pom
    assert "<connect.version>4.2.1<" in pom
    assert "3.6.0" in debezium.NAME
    assert "4.2.1" in debezium.NAME
    lock = (Path(quix.__file__).parent / "quix_environment/uv.lock").read_text(encoding="utf-8")
    assert f'name = "quixstreams"\nversion = "{quix.NAME.split()[-1]}"' in lock
