"""Servers killed with -9 under load, and back: everything goes on by itself, nothing is restarted.

Every test ends with the invariant checker over log and stores, and with each command decided once.
"""

import pytest

from producers.client import CommandClient
from projectors.status import read_status
from runtime.registry import Registry
from runtime.settings import Settings
from tests.faults.outage import (
    MODELS,
    Progress,
    RunningImport,
    Servers,
    assert_all_is_right,
    start_all,
    wait_caught_up,
)
from tests.processes import Rollbook, eventually


def test_kafka_crashes_under_load(settings: Settings, rollbook: Rollbook, servers: Servers) -> None:
    """Handler, projectors and an import wait for the broker and go on where they were."""
    processes = start_all(rollbook)
    running = RunningImport(rollbook, 12_000)
    Progress(settings).wait_for(2_000)
    servers.crash("kafka")
    assert running.goes_on()
    servers.bring_back("kafka")
    running.wait()
    assert_all_is_right(rollbook, 12_000)
    assert all(process.stop() == 0 for process in processes.values())


@pytest.mark.parametrize("name", MODELS)
def test_a_store_crashes_while_its_projector_catches_up(
    name: str, settings: Settings, rollbook: Rollbook, servers: Servers
) -> None:
    """Its projector stays in the group for longer than a session; the other one is unaffected."""
    rollbook.start_handler()
    RunningImport(rollbook, 10_000, tag="before", pace=10_000).wait()
    [other] = set(MODELS) - {name}
    rollbook.start_projector(other)
    process = rollbook.start_projector(name)
    running = RunningImport(rollbook, 5_000, tag="during")
    process.wait_for("replay: partition")
    servers.crash(name)
    running.wait()
    wait_caught_up(settings, other)
    assert set(read_status(settings).unavailable) == {name}
    process.wait_for("trying again in", times=7)  # the pauses are longer than a session by then
    servers.bring_back(name)
    wait_caught_up(settings, *MODELS)
    assert_all_is_right(rollbook, 15_000)
    assert "revoked" not in process.text()
    assert process.text().count("assigned: partitions [0") == 1
    assert process.stop() == 0


def test_the_registry_crashes(settings: Settings, rollbook: Rollbook, servers: Servers) -> None:
    """Who runs needs it no more, who starts waits for it, and its ids keep their meaning."""
    ids = Registry(settings).ensure()
    start_all(rollbook)
    with CommandClient(settings) as client:
        servers.crash("registry")
        for n in range(50):
            assert client.create_user(f"u{n}@example.com", "Jane", 33).accepted
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
    assert_all_is_right(rollbook, 1_050)
