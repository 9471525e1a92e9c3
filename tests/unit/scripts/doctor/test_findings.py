"""Each check finds what it is for, and finds nothing in an installation that is in order."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from projectors.contract.read_model import Version
from projectors.elasticsearch.index.indexes import USERS
from projectors.postgres.store.bookkeeping import FORMAT
from runtime.kafka.registry import COMPATIBILITY
from runtime.settings import Settings
from runtime.topics.admin import TopicReport
from runtime.topics.log_ranges import LogRange
from schemas.letters import Letter
from schemas.topics import EVENTS
from scripts.doctor import (
    brokers,
    certificates,
    handlers,
    indexes,
    permissions,
    read_models,
    schemas,
    tables,
)
from scripts.doctor.checks import GROUPS
from scripts.doctor.clocks import clock_finding
from scripts.doctor.finding import Examination, Finding, Level

DAY = 86_400.0
NOW_MS = 1_000_000_000_000
COPIES = Settings(replication_factor=3)
INDEX = "rollbook-users-1"

Case = Callable[[], Iterable[Finding]]


def topic(**drift: str) -> Iterator[Finding]:
    found = {option.replace("_", "."): ("right", value) for option, value in drift.items()}
    report = TopicReport("user-events", "", 8, EVENTS.config, drift=found)
    return brokers.topic_findings([report], Settings())


def transaction(age_seconds: float) -> Iterator[Finding]:
    since = {("user-events", 3): NOW_MS - int(age_seconds * 1000)}
    return brokers.transaction_findings(since, NOW_MS / 1000, Settings())


def version(
    *, live: bool = True, paused_hours: float | None = None, state: Any = "ready"
) -> Version:
    paused_at = None if paused_hours is None else NOW_MS - int(paused_hours * 3_600_000)
    return Version(1, state, live, 1, 1, paused_at)


def versions(*found: Version, lost: Iterable[int] = (), abandoned: bool = False) -> list[Finding]:
    return list(
        read_models.version_findings("users", found, set(lost), abandoned=abandoned, now_ms=NOW_MS)
    )


def letters(reader: str, age_days: float, settled: str | None = None) -> list[Finding]:
    at = NOW_MS - int(age_days * DAY * 1000)
    letter = Letter("user-events", 1, 2, reader, "bad_avro", "", at, settled)
    return list(read_models.letter_findings([letter], int(14 * DAY * 1000), NOW_MS))


def index(**changes: Any) -> list[Finding]:
    """Judge an index of users as rollbook creates it, with these differences."""
    found: dict[str, Any] = {
        "settings": {"index": {"default_pipeline": "_none", **changes.pop("options", {})}},
        "mappings": {
            "dynamic": "strict",
            "properties": dict(USERS.fields),
            "_meta": {"state": "ready"},
        },
        "aliases": {f"{INDEX}-write": {}},
    }
    return list(indexes.index_findings(INDEX, found | changes, is_version=True))


def template(**body: Any) -> list[Finding]:
    found = {"index_patterns": ["rollbook-*"], "template": {}, **body}
    return list(indexes.template_findings({"theirs": found}, [INDEX]))


def tls(path: str) -> Settings:
    return Settings(http_tls_certificate=path, http_tls_key=path)


def encrypted(**given: Any) -> list[Finding]:
    return list(certificates.encryption(Examination(Settings(**given))))


# Check → what turns it red, each a different fault.
RED: dict[str, list[Case]] = {
    "topics": [
        lambda: topic(cleanup_policy="delete"),
        lambda: topic(segment_ms="1"),
        lambda: brokers.topic_findings(
            [TopicReport("user-events", "", 8, created=True)], Settings()
        ),
    ],
    "copies": [
        lambda: brokers.replica_findings("user-events", [(3, 3, True), (3, 3, False)], COPIES),
        lambda: brokers.replica_findings("user-events", [(3, 1, True)], COPIES),
        lambda: brokers.replica_findings("user-events", [(3, 2, True)], COPIES),
        lambda: brokers.replica_findings("__consumer_offsets", [(1, 1, True)], COPIES),
    ],
    "transactions": [lambda: transaction(3600)],
    "kafka-release": [
        lambda: [brokers.release_finding(30)],  # 4.3
        lambda: [brokers.release_finding(33)],  # 4.4
        lambda: [brokers.release_finding(99)],  # unknown
        lambda: [brokers.release_finding(21)],  # 3.9
    ],
    "kafka-clock": [lambda: [clock_finding("x", 100, 200, 201)]],
    "kafka-disk": [
        lambda: [brokers.disk_finding("x", 0.1)],
        lambda: [brokers.disk_finding("x", 0)],
    ],
    "handlers": [
        lambda: [handlers.group_finding([], 4)],
        lambda: [handlers.group_finding([0, 1, 2], 4)],
    ],
    "offsets": [
        lambda: handlers.offset_findings("c", {0: LogRange(5, 9)}, {0: 3}),
        lambda: handlers.offset_findings("c", {0: LogRange(5, 9)}, {0: 10}),
        lambda: handlers.offset_findings("c", {0: LogRange(0, 9)}, {0: -1001}),
        lambda: [handlers.waiting_finding("c", 4 * DAY, 7 * DAY)],
        lambda: [handlers.waiting_finding("c", 2 * DAY, 7 * DAY)],
    ],
    "reading-time": [
        lambda: [handlers.reading_finding("e", 2 * DAY, DAY)],
        lambda: [handlers.reading_finding("e", 0.6 * DAY, DAY)],
    ],
    "versions": [
        versions,
        lambda: versions(version(live=False)),
        lambda: versions(version(), lost=[1]),
        lambda: versions(version(paused_hours=1)),
        lambda: versions(version(paused_hours=30)),
        lambda: versions(version(), version(live=False, state="building"), abandoned=True),
    ],
    "projectors": [
        lambda: [read_models.projector_finding("users", 1, [], 4)],
        lambda: [read_models.projector_finding("users", 1, [0, 1], 4)],
    ],
    "dead-letters": [
        lambda: letters("projector:users", 1),
        lambda: letters("projector:users", 13),
        lambda: letters("handler", 1),
    ],
    "schemas": [
        lambda: schemas.schema_findings({"user_event": None}),
        lambda: schemas.schema_findings({"user_event": (7, "NONE")}),
    ],
    "schema-ids": [lambda: schemas.id_findings("user-events", [7])],
    "postgres-release": [
        lambda: tables.release_findings(16, FORMAT),
        lambda: tables.release_findings(18, FORMAT - 1),
    ],
    "postgres-clock": [lambda: [clock_finding("x", 210, 200, 201)]],
    "postgres-indexes": [
        lambda: tables.index_findings("s", "users", ["a"], {}),
        lambda: tables.index_findings("s", "users", ["a"], {"a": False}),
        lambda: tables.index_findings("s", "users", [], {"a_ccnew": False}),
    ],
    "postgres-tables": [
        lambda: tables.leftover_findings({}, ["rollbook_postgres_1"]),
        lambda: tables.leftover_findings({"rollbook_postgres_1": "postgres"}, []),
    ],
    "postgres-vacuum": [
        lambda: tables.held_back_findings(7200, []),
        lambda: tables.held_back_findings(0, ["standby"]),
    ],
    "elasticsearch-release": [lambda: indexes.release_findings({"8.19.0", "9.2.0"})],
    "elasticsearch-health": [
        lambda: indexes.health_findings(INDEX, "red", 1),
        lambda: indexes.health_findings(INDEX, "yellow", 1),
    ],
    "elasticsearch-disk": [
        lambda: [indexes.disk_finding("n", 86, indexes.watermarks({}))],
        lambda: [indexes.disk_finding("n", 96, indexes.watermarks({}))],
    ],
    "elasticsearch-templates": [
        template,
        lambda: template(data_stream={}),
        lambda: template(template={"settings": {"index": {"analysis": {}}}}),
    ],
    "elasticsearch-indexes": [
        lambda: index(options={"blocks": {"write": "true"}}),
        lambda: index(options={"final_pipeline": "theirs"}),
        lambda: index(aliases={}),
        lambda: index(mappings={"dynamic": "true", "properties": dict(USERS.fields)}),
        lambda: index(
            mappings={"dynamic": "strict", "properties": {}, "_meta": {"state": "ready"}}
        ),
    ],
    "permissions": [
        lambda: permissions.role_findings({"handler": ["Write on topic x"]}, ["handler"])
    ],
    "certificates": [
        lambda: [certificates.expiry_finding("x", 0, DAY)],
        lambda: [certificates.expiry_finding("x", 3 * DAY, 0)],
        lambda: [certificates.expiry_finding("x", 20 * DAY, 0)],
        lambda: certificates.file_findings(tls("/no/such/file"), 0),
        lambda: certificates.file_findings(tls(__file__), 0),
    ],
    "encryption": [
        lambda: encrypted(kafka_bootstrap_servers="broker-1:9092,127.0.0.1:9092"),
        lambda: encrypted(elasticsearch_url="http://127.0.0.1:1,http://search.example:9200"),
        lambda: encrypted(postgres_url="postgresql://db.example/rollbook"),
        lambda: encrypted(postgres_url="postgresql://db.example/rollbook?sslmode=prefer"),
    ],
}
GREEN: list[Case] = [
    topic,
    lambda: brokers.replica_findings("user-events", [(3, 3, True)] * 8, COPIES),
    lambda: transaction(5),
    lambda: [brokers.release_finding(29)],  # 4.2
    lambda: [clock_finding("x", 200.5, 200, 201)],
    lambda: [clock_finding("x", 196, 200, 201)],
    lambda: [brokers.disk_finding("x", 0.2)],
    lambda: [handlers.group_finding([3, 1, 0, 2], 4)],
    lambda: handlers.offset_findings("c", {0: LogRange(5, 9), 1: LogRange(0, 0)}, {0: 5, 1: -1001}),
    lambda: [handlers.waiting_finding("c", 60, 7 * DAY)],
    lambda: [handlers.reading_finding("e", 60, DAY)],
    lambda: versions(version()),
    lambda: versions(version(), version(live=False, state="building")),
    lambda: [read_models.projector_finding("users", 1, [2, 3, 0, 1], 4)],
    lambda: letters("projector:users", 1, "applied"),
    lambda: schemas.schema_findings({"user_event": (7, COMPATIBILITY)}),
    lambda: schemas.id_findings("user-events", []),
    lambda: tables.release_findings(17, FORMAT),
    lambda: tables.index_findings("s", "users", ["a"], {"a": True, "theirs": True}),
    lambda: tables.leftover_findings({"a": "postgres"}, ["a"]),
    lambda: tables.held_back_findings(10, []),
    lambda: indexes.release_findings({"9.2.0"}),
    lambda: indexes.health_findings(INDEX, "green", 0),
    lambda: [indexes.disk_finding("n", 86, indexes.watermarks({f"{indexes._DISK}.low": "0.9"}))],
    lambda: template(index_patterns=["logs-*"], data_stream={}),
    index,
    # A swap pauses the writers: its lock replaces the alias and blocks writes.
    lambda: index(options={"blocks": {"write": "true"}}, aliases={f"{INDEX}-held-1": {}}),
    lambda: permissions.role_findings({"handler": [], "client": ["Read on topic x"]}, ["handler"]),
    lambda: [certificates.expiry_finding("x", 60 * DAY, 0)],
    lambda: certificates.file_findings(tls("/"), 0),  # authorities may be in a folder
    encrypted,
    lambda: encrypted(
        kafka_bootstrap_servers="broker-1:9092",
        kafka_security_protocol="SSL",
        elasticsearch_url="https://search.example",
        registry_url="https://registry.example",
        postgres_url="postgresql://db.example/rollbook?sslmode=verify-full",
    ),
]
MATTERS = {Level.PROBLEM, Level.WARNING}


def test_every_check_has_a_case_that_turns_it_red() -> None:
    """All but one: groups that a dropped version left are found on a real broker only."""
    assert set(RED) == {check.name for group in GROUPS for check in group.checks} - {"groups"}


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in RED.items() for case in cases]
)
def test_a_fault_is_found_and_has_a_remedy(name: str, case: Case) -> None:
    found = [one for one in case() if one.level in MATTERS]
    assert found, name
    assert all(one.remedy and one.message for one in found)


@pytest.mark.parametrize("case", GREEN)
def test_nothing_is_found_where_all_is_well(case: Case) -> None:
    assert [one for one in case() if one.level in MATTERS] == []


def test_what_matters_more_is_a_problem() -> None:
    """A write that fails, or data that will be lost; the rest is a warning."""
    [lossy] = topic(cleanup_policy="delete")
    assert (lossy.level, "kafka-configs.sh" in lossy.remedy) == (Level.PROBLEM, True)
    assert [one.level for one in topic(segment_ms="1")] == [Level.WARNING]
    assert [one.level for one in versions(version(paused_hours=1))] == [Level.WARNING]
    assert [one.level for one in versions(version(paused_hours=30))] == [Level.PROBLEM]


def test_watermarks_are_read_in_every_form() -> None:
    stored = {f"{indexes._DISK}.{name}": text for name, text in (("low", "70%"), ("high", "0.8"))}
    found = indexes.watermarks(stored | {f"{indexes._DISK}.flood_stage": "10gb"})
    assert found == {"low": 70.0, "high": 80.0, "flood_stage": 95.0}


def test_the_indexes_of_a_shape_are_those_that_its_statements_create() -> None:
    names = [index for shape in tables.SHAPES.values() for index in tables.index_names(shape)]
    assert {"users_age", "user_history_erased"} <= set(names)
