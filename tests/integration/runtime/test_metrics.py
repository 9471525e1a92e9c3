"""What real handlers and projectors serve: every metric of the table, true lag, readiness."""

import math
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from producers.client.command_client import CommandClient
from runtime.kafka.clients import producer_config
from runtime.metrics.table import HANDLER, METRICS, PROJECTOR
from runtime.roles.postgres import version_schema
from runtime.settings import Settings
from schemas.topics import COMMANDS
from tests.depth import DEEP
from tests.faults.broker_proxy import FETCH, BrokerProxy
from tests.observed.metrics import Endpoint, start_measured
from tests.started.processes import Rollbook, RunningProcess, eventually

# Only while something of the kind goes on, or only where a file is named.
ABSENT = {
    "certificate_expiry_timestamp_seconds",
    "handler_restore_records",
    "handler_restored_records",
    "dead_letters_oldest_timestamp_seconds",
}


def create(settings: Settings, first: int, count: int) -> None:
    with CommandClient(settings, timeout_seconds=60) as client:
        for number in range(first, first + count):
            client.create_user(f"user{number}@example.com", "Jane", 33)


def assert_serves_its_table(endpoint: Endpoint, kind: str) -> None:
    """Every metric of the table is served, with its labels; nothing else of ours is."""
    table = {one.full_name.removesuffix("_total"): one for one in METRICS if kind in one.served_by}
    expected = {one.name for one in table.values()} - ABSENT

    def with_samples() -> bool:
        series = endpoint.series()
        return all(
            series.get(f"rollbook_{name}") or series.get(f"rollbook_{name}_count")
            for name in expected
        )

    eventually(with_samples, what=f"{kind} serves everything")
    series = endpoint.series()
    families = {name for name in series if name in table}
    assert families == set(table)
    for name, found in series.items():
        if not name.startswith("rollbook_"):
            continue
        stem = name
        for suffix in ("_bucket", "_count", "_sum", "_total"):
            if stem.removesuffix(suffix) in table:
                stem = stem.removesuffix(suffix)
        labels = {label for one in found for label, _ in one} - {"le"}
        assert labels <= set(table[stem].labels), name


def test_processes_serve_the_whole_table(settings: Settings, rollbook: Rollbook) -> None:
    """A dead letter is counted by the process whose reader wrote it."""
    _, handler = start_measured(rollbook, "handler", "run", "--instance", "a")
    _, projector = start_measured(rollbook, "projector", "run", "postgres")
    create(settings, 0, 3)
    producer = Producer(producer_config(settings))
    producer.produce(settings.named(COMMANDS.name), key=b"x", value=b"no Avro", partition=0)
    producer.flush(30)
    eventually(lambda: handler.total("dead_letters_open") == 1, what="the letter")
    eventually(lambda: projector.total("projector_lag_events") == 0, what="it has caught up")
    assert_serves_its_table(handler, HANDLER)
    assert_serves_its_table(projector, PROJECTOR)
    assert handler.total("commands_decided_total") == 3
    assert projector.total("projector_events_applied_total") == 3
    assert projector.total("projector_live") == 1
    assert projector.total("dead_letters_open") == 0
    assert handler.lacks() == projector.lacks() == set()


@pytest.fixture
def locked(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A connection to PostgreSQL, to lock what a projector writes."""
    with psycopg.connect(settings.postgres_url, password=settings.postgres_password) as found:
        yield found


def start_behind(proxy: BrokerProxy, rollbook: Rollbook) -> tuple[RunningProcess, Endpoint]:
    """Start a handler that reaches its broker through the proxy, and let nothing wait for it."""
    rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"] = proxy.address
    process, handler = start_measured(rollbook, "handler", "run", "--instance", "a")
    del rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"]
    eventually(lambda: handler.total("handler_commands_waiting") == 0, what="nothing waits")
    return process, handler


def test_a_handler_whose_fetches_stall_shows_what_waits(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Its consumer believes to be at the end. That makes it neither dead nor not ready."""
    with BrokerProxy(settings.kafka_bootstrap_servers) as proxy:
        process, handler = start_behind(proxy, rollbook)
        proxy.stall(FETCH)
        eventually(proxy.done.is_set, what="a fetch is stalled")
        producer = Producer(producer_config(settings))
        for number in range(6):
            producer.produce(settings.named(COMMANDS.name), value=b"x", partition=number % 4)
        producer.flush(30)
        eventually(lambda: handler.total("handler_commands_waiting") == 6, what="six wait")
        assert handler.lacks() == set()
        process.kill()  # it would try for long to leave its group


@pytest.mark.skipif(not DEEP, reason="it takes until requests to no broker time out")
def test_a_handler_that_loses_its_broker_is_alive_and_not_ready(
    settings: Settings, rollbook: Rollbook
) -> None:
    """The lag is unknown then, not 0."""
    with BrokerProxy(settings.kafka_bootstrap_servers) as proxy:
        process, handler = start_behind(proxy, rollbook)
    eventually(lambda: handler.lacks() == {"kafka_unavailable"}, what="it is not ready")
    assert math.isnan(handler.total("handler_commands_waiting"))
    assert handler.get("/livez")[0] == 200
    process.kill()


def test_a_projector_that_cannot_write_shows_its_lag(
    settings: Settings, rollbook: Rollbook, locked: psycopg.Connection[Any]
) -> None:
    """In events and in seconds; both return to 0."""
    rollbook.start_handler()
    _, projector = start_measured(rollbook, "projector", "run", "postgres")
    create(settings, 0, 1)
    eventually(lambda: projector.total("projector_lag_events") == 0, what="it has caught up")
    schema = version_schema(settings, "postgres", 1)
    locked.execute(f"LOCK TABLE {schema}.checkpoints IN EXCLUSIVE MODE")
    create(settings, 1, 5)
    eventually(lambda: projector.total("projector_lag_events") == 5, what="five events wait")
    first = projector.total("projector_lag_seconds")
    eventually(lambda: projector.total("projector_lag_seconds") > first, what="they get older")
    locked.rollback()
    eventually(lambda: projector.total("projector_lag_seconds") == 0, what="it has caught up")
    assert projector.total("projector_lag_events") == 0


def test_one_endpoint_serves_all_processes_of_a_handler(
    settings: Settings, rollbook: Rollbook
) -> None:
    """What each of them counts is added, and none is ready before all are."""
    process, handler = start_measured(
        rollbook, "handler", "run", "--instance", "a", "--processes", "2"
    )
    eventually(lambda: handler.lacks() == set(), what="both are ready")
    create(settings, 0, 20)
    eventually(
        lambda: handler.total("commands_decided_total") == 20, what="all decided are counted"
    )
    # The second process may have taken its partitions a moment ago.
    eventually(
        lambda: handler.total("handler_partitions") == settings.partitions, what="all are owned"
    )
    assert process.stop() == 0


@pytest.mark.skipif(not DEEP, reason="it takes until requests to no broker time out")
def test_a_handler_that_waits_for_its_servers_is_alive_and_not_ready(rollbook: Rollbook) -> None:
    rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:9"
    _, handler = start_measured(rollbook, "handler", "run", "--instance", "a")
    eventually(lambda: "kafka_unavailable" in handler.lacks(), what="it says why")
    assert handler.get("/livez")[0] == 200
    assert handler.total("process_ready") == 0
