"""The doctor finds each fault in a real installation, and nothing in one that is in order."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer, TopicPartition
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from elasticsearch import Elasticsearch

from producers.client.command_client import CommandClient
from producers.handler.members import GROUP, members
from projectors.catalog import OURS, open_versions
from projectors.elasticsearch.client import connect
from projectors.engine.subscription import group_of
from projectors.postgres.store.database import Database
from projectors.versions.pause import set_paused
from runtime.kafka.clients import admin, transactional_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from schemas.coding.codec import MAGIC
from schemas.topics import COMMANDS, EVENTS
from scripts.doctor.checks import GROUPS
from scripts.doctor.finding import Examination, Finding, Level
from scripts.doctor.run import run_check
from scripts.stack.native.local import LocalStack
from tests.conftest import own_registry
from tests.integration.projectors.versions.test_groups import leave_group
from tests.observed.catch_up import wait_caught_up
from tests.observed.groups import delete_group
from tests.observed.log import alter_topics
from tests.started.processes import Rollbook, eventually

MATTERS = {Level.PROBLEM, Level.WARNING}


def findings(settings: Settings, name: str) -> list[Finding]:
    """Return what one check finds that matters."""
    [(group, check)] = [(g, c) for g in GROUPS for c in g.checks if c.name == name]
    facts = group.open(Examination(settings))
    try:
        return [one for one in run_check(check, facts) if one.level in MATTERS]
    finally:
        if hasattr(facts, "close"):
            facts.close()


def finding(settings: Settings, name: str, *words: str) -> Finding:
    """Return the only finding of a check, which must have these words and a remedy."""
    [found] = findings(settings, name)
    assert all(word in found.message for word in words), found
    assert found.remedy
    return found


@pytest.fixture(scope="module")
def running(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollbook]:
    """A registry with a handler, all projectors and two users of the same age, for all tests."""
    folder = tmp_path_factory.mktemp("doctor")
    with own_registry(stack, folder) as settings:
        ensure_topics(settings)
        rollbook = Rollbook(settings, stack.config_file, folder)
        try:
            rollbook.start_handler()
            for name in OURS:
                rollbook.start_projector(name)
            with CommandClient(settings, timeout_seconds=60) as client:
                for name in ("jane", "joe"):
                    assert client.create_user(f"{name}@example.com", name, 34).accepted
            wait_caught_up(settings, timeout_seconds=150)
            yield rollbook
        finally:
            rollbook.stop_all()


@pytest.fixture
def in_order(running: Rollbook) -> Settings:
    """The settings of that registry; a test repairs what it breaks."""
    return running.settings


@contextmanager
def topic_option(settings: Settings, name: str, value: str) -> Iterator[None]:
    """Change an option of the commands inside the `with` block."""
    option = name.replace(".", "_")
    alter_topics(settings, [COMMANDS], **{option: value})
    try:
        yield
    finally:
        alter_topics(settings, [COMMANDS], **{option: COMMANDS.config[name]})


@contextmanager
def open_transaction(settings: Settings, age_seconds: float) -> Iterator[None]:
    """Leave a transaction open inside the `with` block, with a record of this age."""
    producer = Producer(transactional_config(settings, settings.named("hanging")))
    producer.init_transactions(20)
    producer.begin_transaction()
    at_ms = int((time.time() - age_seconds) * 1000)
    producer.produce(settings.named(EVENTS.name), b"x", b"x", partition=0, timestamp=at_ms)
    producer.flush()
    try:
        yield
    finally:
        producer.abort_transaction()


@contextmanager
def index_template(settings: Settings, **body: Any) -> Iterator[Elasticsearch]:
    """Have an index template that matches our indexes inside the `with` block."""
    with closing(connect(settings)) as client:
        name = settings.named("organisation")
        client.indices.put_index_template(
            name=name, index_patterns=[f"{settings.prefix}-*"], priority=7, **body
        )
        try:
            yield client
        finally:
            client.indices.delete_index_template(name=name)


def execute(settings: Settings, text: Any, *, fails: bool = False) -> None:
    """Run a statement on the tables of the first version of the users."""
    with closing(Database(settings, version=1)) as database, database.session() as connection:
        if fails:
            with pytest.raises(psycopg.Error):
                connection.execute(database.statement(text))
        else:
            connection.execute(database.statement(text))


def certificate(folder: Path, days: int) -> dict[str, str]:
    """Return settings with a certificate that expires in so many days, from files in a folder."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "tls.crt").write_bytes(made.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "tls.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    )
    return {
        "http_tls_certificate": str(folder / "tls.crt"),
        "http_tls_key": str(folder / "tls.key"),
    }


def test_an_installation_in_order_has_no_findings(running: Rollbook) -> None:
    """Everything is checked: nothing is left out, because the extra is installed."""
    found = running.ndjson("doctor", "--role", "handler", "--strict")
    assert {one["result"] for one in found} == {"ok"}, found
    assert {one["check"] for one in found} == {c.name for g in GROUPS for c in g.checks}


def test_faults_of_kafka_are_found(in_order: Settings) -> None:
    settings = in_order
    with topic_option(settings, "retention.bytes", "1000000"):
        lossy = finding(settings, "topics", "retention.bytes=1000000", "deletes records")
        assert lossy.level is Level.PROBLEM
    with topic_option(settings, "segment.ms", "3600000"):
        assert finding(settings, "topics", "segment.ms").level is Level.WARNING
    with open_transaction(settings, age_seconds=1):
        assert findings(settings, "transactions") == []
    with open_transaction(settings, age_seconds=3600):
        finding(settings, "transactions", settings.named(EVENTS.name), "partition 0")
    assert findings(settings, "transactions") == []
    leave_group(settings, group_of("postgres", 77))
    finding(settings, "groups", settings.named(group_of("postgres", 77)))
    delete_group(settings, group_of("postgres", 77))


def test_faults_of_the_stores_are_found(in_order: Settings) -> None:
    settings = in_order
    execute(settings, "CREATE UNIQUE INDEX CONCURRENTLY twice ON {schema}.users (age)", fails=True)
    finding(settings, "postgres-indexes", ".twice is invalid")
    execute(settings, "DROP INDEX {schema}.twice")
    execute(settings, "DROP INDEX {schema}.users_age")
    finding(settings, "postgres-indexes", ".users_age is missing")
    execute(settings, "CREATE INDEX users_age ON {schema}.users (age, user_id)")
    assert findings(settings, "postgres-indexes") == []
    left = Database(settings, version=9).schema
    execute(settings, f"CREATE SCHEMA {left}")
    finding(settings, "postgres-tables", left)
    execute(settings, f"DROP SCHEMA {left}")
    with index_template(settings, template={"settings": {"number_of_replicas": 0}}):
        assert finding(settings, "elasticsearch-templates").level is Level.WARNING
    analysis = {"settings": {"analysis": {"analyzer": {"a": {"tokenizer": "standard"}}}}}
    with index_template(settings, template=analysis) as client:
        assert finding(settings, "elasticsearch-templates", "analyzers").level is Level.PROBLEM
        index = settings.named("rollbook-users-1")
        client.indices.put_settings(index=index, settings={"blocks.write": True})
        finding(settings, "elasticsearch-indexes", "has the block write")
        client.indices.put_settings(index=index, settings={"blocks.write": None})
    with closing(open_versions(settings, "postgres")) as versions:
        set_paused(versions, None, paused=True)
        finding(settings, "versions", "version 1 of postgres is paused")
        set_paused(versions, None, paused=False)
    assert findings(settings, "versions") == []


def test_a_registry_without_a_schema_is_found(settings: Settings) -> None:
    """Its schemas are the same for all tests, so this one asks for another, and for another id."""
    unknown = '{"type": "record", "name": "NotOurs", "namespace": "rollbook", "fields": []}'
    assert Registry(settings).find(unknown) is None
    assert findings(settings, "schemas") == []
    assert findings(settings, "schema-ids") == []
    producer = Producer(transactional_config(settings, settings.named("forged")))
    producer.init_transactions(20)
    producer.begin_transaction()
    value = MAGIC + (2_000_000_000).to_bytes(4) + b"x"
    producer.produce(settings.named(EVENTS.name), value, b"x", partition=1)
    producer.commit_transaction()
    finding(settings, "schema-ids", "schema id 2000000000")


def test_processes_that_do_not_run_are_found(settings: Settings, rollbook: Rollbook) -> None:
    """And commands that were deleted before a handler has decided them."""
    with closing(open_versions(settings, "postgres")) as versions:
        versions.begin()
    found = {one.message for one in findings(settings, "projectors")}
    assert "no projector runs for version 1 of postgres" in found
    finding(settings, "handlers", "no handler runs")
    handler = rollbook.start_handler()
    with CommandClient(settings, timeout_seconds=60) as client:
        assert client.create_user("jane@example.com", "Jane", 34).accepted
    assert findings(settings, "handlers") == []
    handler.stop()
    eventually(lambda: not members(settings), what="the handler has left")
    assert findings(settings, "offsets") == []
    topic = settings.named(COMMANDS.name)
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for number in range(4):
        producer.produce(topic, b"x", b"x", partition=number)
    producer.flush()
    broker = admin(settings)
    places = [TopicPartition(topic, number, -1) for number in range(4)]
    for deleted in broker.delete_records(places).values():
        deleted.result()
    lost = findings(settings, "offsets")
    assert {one.level for one in lost} <= MATTERS
    assert any("deleted records that were not decided" in one.message for one in lost), lost
    delete_group(settings, GROUP)
    assert any("no offset" in one.message for one in findings(settings, "offsets"))


@pytest.mark.parametrize(
    ("days", "levels"), [(-1, ["problem"]), (3, ["problem"]), (20, ["warning"]), (80, [])]
)
def test_a_certificate_near_its_end_is_found(tmp_path: Path, days: int, levels: list[str]) -> None:
    given: dict[str, Any] = certificate(tmp_path, days)
    found = findings(replace(Settings(), **given), "certificates")
    assert [str(one.level) for one in found] == levels


def test_a_server_that_is_away_is_a_finding_and_the_others_are_checked(
    running: Rollbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(running.overrides, "ROLLBOOK_ELASTICSEARCH_URL", "http://127.0.0.1:1")
    found = running.ndjson("doctor", code=5)
    by_check: dict[str, set[str]] = {}
    for one in found:
        by_check.setdefault(one["check"], set()).add(one["result"])
    assert by_check["elasticsearch-release"] == {"problem"}
    assert by_check["elasticsearch-disk"] == {"not checked"}
    for name in ("topics", "schemas", "postgres-indexes", "handlers", "projectors"):
        assert by_check[name] == {"ok"}, name
    assert "elasticsearch" in next(o for o in found if o["check"] == "versions")["message"]
