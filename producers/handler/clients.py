"""What a handler needs from the outside: clients of the log, and codecs of its records.

There are two kinds of clients: Kafka's own (`producers.handler.start`) and the in-memory log of the
tests, over which the same code runs through rebalances, fencing and aborts in milliseconds.
"""

import logging
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import Consumer, Producer

from producers.handler.schema_lookup import SchemaLookup
from runtime.process import StopSignal
from runtime.registry import Registry
from schemas.codec import RecordCodec
from schemas.records import (
    AddressMessage,
    CommandOutcome,
    DeadLetter,
    EmailClaim,
    UserCommand,
    UserEvent,
)
from schemas.topics import COMMANDS, DEAD_LETTERS, EMAILS, EVENTS, HOPS, OUTCOMES


class Clients(Protocol):
    """Makes a handler's clients; each call returns a new one, which the caller closes."""

    @property
    def group(self) -> str:
        """The name of the consumer group."""

    @property
    def identity(self) -> str:
        """The stable identity: group instance id and transactional id."""

    def require_unique_identity(self, stop: StopSignal) -> None:
        """Return once no other host's member has our identity.

        Raises `Misconfigured` (`instance_taken`) if a live one has it, `Unavailable` without
        brokers.
        """

    def group_consumer(self) -> Consumer:
        """Return a consumer that is a static member of the group once it subscribes."""

    def committed_reader(self) -> Consumer:
        """Return a consumer of committed records that also reports the end of each partition."""

    def uncommitted_reader(self) -> Consumer:
        """Return a consumer whose watermarks include the records of open transactions."""

    def transactional_producer(self, logger: logging.Logger) -> Producer:
        """Return a producer under our transactional id, which writes its own log to `logger`."""


@dataclass(frozen=True, slots=True)
class Codecs:
    """The codecs of every record that a handler reads or writes."""

    commands: RecordCodec[UserCommand]
    events: RecordCodec[UserEvent]
    outcomes: RecordCodec[CommandOutcome]
    claims: RecordCodec[EmailClaim]
    address_messages: RecordCodec[AddressMessage]
    letters: RecordCodec[DeadLetter]

    @classmethod
    def from_registry(cls, registry: Registry) -> "Codecs":
        """Return the codecs with the registry's ids; raises what `Registry.codec` raises."""
        topics = (COMMANDS, EVENTS, OUTCOMES, EMAILS, HOPS, DEAD_LETTERS)
        lookup = SchemaLookup(registry.schema_by_id)
        return cls(*(registry.codec(topic.schema, lookup) for topic in topics))
