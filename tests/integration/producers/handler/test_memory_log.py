"""The in-memory log behaves like a real broker in everything the handler's pure tests rely on.

Every scenario runs over both, through the same clients, and must observe the same.
"""

from collections.abc import Callable

import pytest
from confluent_kafka import TopicPartition

from producers.handler.members import GROUP
from producers.handler.start import KafkaClients
from runtime.kafka.clients import admin, producer
from runtime.settings import Settings
from schemas.topics import COMMANDS, EVENTS
from tests.integration.producers.handler import group_scenarios
from tests.integration.producers.handler.cluster_scenarios import (
    PARTITIONS,
    SCENARIOS,
    Broker,
    Seen,
)
from tests.unit.producers.handler.in_memory.clients import MemoryClients
from tests.unit.producers.handler.in_memory.group import MemoryGroup
from tests.unit.producers.handler.in_memory.log import MemoryLog


def real(settings: Settings) -> Broker:
    """Return Kafka, under the test's settings."""
    client, cluster = producer(settings), admin(settings)

    def append(topic: str, value: bytes) -> None:
        client.produce(topic, value, b"key", 0)
        assert client.flush(10) == 0

    def delete_before(topic: str, offset: int) -> None:
        place = TopicPartition(topic, 0, offset)
        for deleted in cluster.delete_records([place]).values():
            deleted.result()

    return Broker(
        settings.named(COMMANDS.name),
        settings.named(EVENTS.name),
        lambda identity: KafkaClients(settings, identity),
        append,
        delete_before,
        end_session=lambda _identity: None,
    )


def in_memory() -> Broker:
    """Return the simulation."""
    log = MemoryLog({COMMANDS.name: PARTITIONS, EVENTS.name: PARTITIONS})
    group = MemoryGroup(log, GROUP, PARTITIONS)
    return Broker(
        COMMANDS.name,
        EVENTS.name,
        lambda identity: MemoryClients(group, identity),
        lambda topic, value: log.append(topic, 0, b"key", value),
        lambda topic, offset: log.delete_before(topic, 0, offset),
        end_session=group.expire,
    )


@pytest.mark.parametrize(
    "scenario", [*SCENARIOS, *group_scenarios.SCENARIOS], ids=lambda scenario: scenario.__name__
)
def test_the_in_memory_log_and_a_broker_show_the_same(
    settings: Settings, scenario: Callable[[Broker], Seen]
) -> None:
    assert scenario(in_memory()) == scenario(real(settings))
