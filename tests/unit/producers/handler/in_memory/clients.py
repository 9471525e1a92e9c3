"""What a handler makes of the in-memory log: its clients."""

import logging
from typing import Any, cast

from confluent_kafka import Consumer, KafkaException, Producer

from runtime.kafka.clients import kafka_failure
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import Forbidden, Unavailable
from tests.unit.producers.handler.in_memory.consumer import MemoryConsumer
from tests.unit.producers.handler.in_memory.group import MemoryGroup
from tests.unit.producers.handler.in_memory.log import MemoryProducer


class MemoryClients:
    """`producers.handler.clients.Clients` over the in-memory log."""

    def __init__(self, group: MemoryGroup, identity: str) -> None:
        self._group = group
        self.group = group.name
        self.identity = identity
        self.consumer = MemoryConsumer(group, identity)
        self.producers: list[MemoryProducer] = []

    def failure(self, error: KafkaException) -> Unavailable | Forbidden:
        # Without a port, nothing looks for the reason at a broker.
        return kafka_failure(Settings(kafka_bootstrap_servers="memory"), error)

    def require_unique_identity(self, stop: StopSignal) -> None:
        """Do nothing: all identities here are on one host."""

    def unassigned(self) -> set[int] | None:
        return self._group.unassigned()

    def group_consumer(self) -> Consumer:
        """Return a consumer that joins the group once polled; `consumer` is the latest."""
        self.consumer = MemoryConsumer(self._group, self.identity)
        return cast("Consumer", self.consumer)

    def committed_reader(self) -> Consumer:
        return cast("Consumer", MemoryConsumer(self._group, reports_ends=True))

    def uncommitted_reader(self) -> Consumer:
        """Return a reader of high watermarks."""
        return cast("Consumer", MemoryConsumer(self._group, committed_only=False))

    def transactional_producer(self, logger: logging.Logger) -> Producer:
        """Return a producer; `producers` are all so far."""
        producer = MemoryProducer(self._group.log, self.identity, self._refusal, logger)
        self.producers.append(producer)
        return cast("Producer", producer)

    def _refusal(self, metadata: Any) -> KafkaException | None:
        return self._group.refusal(metadata)
