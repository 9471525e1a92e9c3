"""Servers are killed with SIGKILL under load and started again: our processes need no restart.

Every test ends by running `rollbook verify` and checking that each command was decided once.
"""

import time
from contextlib import closing

import pytest

from producers.client import CommandClient
from projectors.versions.status import read_status
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from tests.depth import DEEP
from tests.faults.outage import (
    MODELS,
    Progress,
    RunningImport,
    Servers,
    assert_everything_is_valid,
    start_all,
)
from tests.observed.catch_up import wait_caught_up
from tests.started.processes import Rollbook, eventually
from tests.started.services import Service

# Kafka's clients in Java give up after a minute, and the registry has to start first.
_LONGER_THAN_THE_DEFAULT_SECONDS = 110


@pytest.mark.skipif(not DEEP, reason="test_nemesis.py kills Kafka; in `make test-deep`")
def test_kafka_crashes_under_load(settings: Settings, rollbook: Rollbook, servers: Servers) -> None:
    """Handler, projectors and an import wait for the broker and resume.

    Transactions time out while it is away: a broker must abort them when it starts
    (docs/decisions/0011).
    """
    rollbook.overrides["ROLLBOOK_TRANSACTION_TIMEOUT_SECONDS"] = "3"
    processes = start_all(rollbook)
    running = RunningImport(rollbook, 8_000)
    Progress(settings).wait_for(2_000)
    servers.crash("kafka")
    assert running.is_unfinished()
    servers.bring_back("kafka")
    running.wait()
    assert_everything_is_valid(rollbook, 8_000)
    assert all(process.stop() == 0 for process in processes.values())


@pytest.mark.skipif(not DEEP, reason="test_nemesis.py kills Kafka; in `make test-deep`")
def test_kafka_is_frozen_under_load(
    settings: Settings, rollbook: Rollbook, servers: Servers
) -> None:
    """For less than a session timeout, then until sessions and transactions have timed out."""
    rollbook.overrides["ROLLBOOK_TRANSACTION_TIMEOUT_SECONDS"] = "3"
    processes = start_all(rollbook)
    progress = Progress(settings)
    running = RunningImport(rollbook, 8_000)
    for seconds in (2, 8):
        progress.wait_for(1_000)
        with servers.frozen("kafka"):
            time.sleep(seconds)  # no condition to wait for: the time that passes is the fault
    running.wait()
    assert_everything_is_valid(rollbook, 8_000)
    assert all(process.stop() == 0 for process in processes.values())


@pytest.mark.skipif(
    not DEEP, reason="test_postgres_rewinds.py crashes a store too; in `make test-deep`"
)
def test_a_store_crashes_while_its_projector_catches_up(
    settings: Settings, rollbook: Rollbook, servers: Servers
) -> None:
    """Its projectors stay in the group for longer than a session timeout; others are unaffected."""
    processes = start_all(rollbook)
    stores = {"elasticsearch": ("elasticsearch",), "postgres": ("postgres", "history")}
    for name, models in stores.items():
        assert processes[name].stop() == 0
        RunningImport(rollbook, 2_000, tag=f"before-{name}", pace=2_000).wait()
        processes[name] = rollbook.start_projector(name)
        processes[name].wait_for("replay: partition")
        servers.crash(name)
        RunningImport(rollbook, 2_000, tag=f"without-{name}").wait()
        wait_caught_up(settings, *(set(MODELS) - set(models)))
        assert set(read_status(settings).unavailable) == set(models)
        processes[name].wait_for(
            "trying again in", times=6
        )  # the sixth pause ends after a session timeout
        servers.bring_back(name)
        wait_caught_up(settings, *MODELS)
    assert_everything_is_valid(rollbook, 4_000 * len(stores))
    for name in MODELS:
        assert "revoked" not in processes[name].text()
        assert processes[name].text().count("assigned: partitions") == 1
    assert all(process.stop() == 0 for process in processes.values())


@pytest.mark.skipif(not DEEP, reason="takes a minute; `make test-deep` runs it")
def test_the_registry_crashes(settings: Settings, rollbook: Rollbook, servers: Servers) -> None:
    """Running processes no longer need it, starting ones wait for it, its ids stay valid."""
    ids = Registry(settings).ensure()
    start_all(rollbook)
    commands, queries = Service(rollbook, "commands").http, Service(rollbook, "queries").http
    events = "/events?from=beginning&follow=false"
    with CommandClient(settings) as client, closing(commands), closing(queries):
        known = client.create_user("u@example.com", "Jane", 33).command_id
        asks = [(commands, f"/commands/{known}"), (queries, events), (queries, "/read-models")]
        assert [service.get(path).status_code for service, path in asks] == [200, 200, 200]
        servers.crash("registry")
        for n in range(49):
            assert client.create_user(f"u{n}@example.com", "Jane", 33).accepted
        assert [service.get(path).status_code for service, path in asks] == [200, 200, 200]
        assert queries.get(events).text.count("data: ") == 50
    eventually(lambda: rollbook.json("users", "summary")["total_users"] == 50)
    failed = rollbook.json("users", "import", "-", stdin="email,name,age\n", code=5)["error"]
    assert (failed["code"], settings.registry_url in failed["message"]) == (
        "registry_unavailable",
        True,
    )
    starting = [rollbook.start_handler("b", wait=False), *map(rollbook.start_projector, MODELS)]
    for process in starting:
        process.wait_for(f"the schema registry at {settings.registry_url} failed")
        process.wait_for("trying again")
    servers.bring_back("registry")
    starting[0].wait_for("restored partition", times=2)
    for process in starting[1:]:
        process.wait_for("assigned: partitions [")
    assert Registry(settings).ensure() == ids
    RunningImport(rollbook, 1_000, tag="after").wait()
    assert_everything_is_valid(rollbook, 1_050)


@pytest.mark.skipif(not DEEP, reason="takes two minutes; `make test-deep` runs it")
def test_a_registry_that_starts_without_kafka_waits_for_it(
    settings: Settings, servers: Servers
) -> None:
    """Apicurio would go on without its storage after a minute, and answer 500 from then on."""
    servers.crash("registry")
    with servers.frozen("kafka"):
        servers.start("registry")
        time.sleep(_LONGER_THAN_THE_DEFAULT_SECONDS)
    servers.wait_until_ready("registry")
    assert Registry(settings).ensure()
