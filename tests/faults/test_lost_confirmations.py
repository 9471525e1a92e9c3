"""A broker takes a command, but its confirmation never reaches the client."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from producers.client import AsyncCommandClient, CommandClient, Outcome
from runtime.settings import Settings
from schemas.errors import NotInTime
from schemas.topics import COMMANDS, HISTORY
from tests.faults.broker_proxy import PRODUCE, BrokerProxy
from tests.observed.log import read
from tests.started.processes import Rollbook

Create = Callable[[Settings, Callable[[], None], float], Outcome]


def create(settings: Settings, disturb: Callable[[], None], timeout_seconds: float) -> Outcome:
    """Create a user; `disturb` is called once the client is connected."""
    with CommandClient(settings, timeout_seconds=timeout_seconds) as client:
        disturb()
        return client.create_user("jane@example.com", "Jane", 34, "c-1")


def create_from_loop(
    settings: Settings, disturb: Callable[[], None], timeout_seconds: float
) -> Outcome:
    """Do the same with a client of many commands at once."""

    async def run() -> Outcome:
        async with AsyncCommandClient(settings, timeout_seconds=timeout_seconds) as client:
            disturb()
            return await client.create_user("jane@example.com", "Jane", 34, "c-1")

    return asyncio.run(run())


@pytest.mark.parametrize("create", [create, create_from_loop])
def test_without_a_confirmation_the_client_does_not_say_that_nothing_was_sent(
    settings: Settings, create: Create
) -> None:
    with BrokerProxy(settings.kafka_bootstrap_servers, PRODUCE) as proxy:
        behind = replace(settings, kafka_bootstrap_servers=proxy.address)
        with pytest.raises(NotInTime) as late:
            create(behind, proxy.lose_answer_for_good, 3)
    assert [record["command_id"] for _, record in read(settings, COMMANDS)] == ["c-1"]
    assert "may still be decided" in str(late.value)
    assert late.value.code == "not_in_time"


@pytest.mark.parametrize("create", [create, create_from_loop])
def test_the_client_sends_again_and_the_command_is_decided_once(
    settings: Settings, rollbook: Rollbook, create: Create
) -> None:
    rollbook.start_handler()
    with BrokerProxy(settings.kafka_bootstrap_servers, PRODUCE) as proxy:
        behind = replace(settings, kafka_bootstrap_servers=proxy.address)
        outcome = create(behind, proxy.lose_answer, 60)
        assert proxy.done.is_set()
    assert (outcome.accepted, outcome.repeated) == (True, True)
    assert [record["type"] for _, record in read(settings, HISTORY)] == ["UserCreated"]
