"""What a handler needs from the outside: clients of the log, and codecs of its records.

There are two kinds of clients: Kafka's own (`producers.handler.start`) and the in-memory log of the
tests, over which the same code runs through rebalances, fencing and aborts in milliseconds.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException, Producer

from producers.handler.schema_lookup import SchemaLookup
from runtime.kafka.registry import Registry
from runtime.process import StopSignal
from schemas.coding.codec import RecordCodec
from schemas.errors import Forbidden, Unavailable
from schemas.formats import ADDRESS_MESSAGE_SCHEMAS, EVENT_SCHEMAS, MARK_SCHEMA
from schemas.records import (
    AddressMessage,
    CommandOutcome,
    DeadLetter,
    EmailClaim,
    LogFormat,
    UserCommand,
    UserEvent,
)
from schemas.topics import COMMANDS, DEAD_LETTERS, EMAILS, OUTCOMES


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

    def unassigned(self) -> set[int] | None:
        """Return the partitions that the group has assigned to no member; None if unknown now."""

    def group_consumer(self) -> Consumer:
        """Return a consumer that is a static member of the group once it subscribes."""

    def committed_reader(self) -> Consumer:
        """Return a consumer of committed records that also reports the end of each partition."""

    def uncommitted_reader(self) -> Consumer:
        """Return a consumer whose watermarks include the records of open transactions."""

    def failure(self, error: KafkaException) -> Unavailable | Forbidden:
        """Return the error that names what failed and, if access is denied, what is missing."""

    def transactional_producer(self, logger: logging.Logger) -> Producer:
        """Return a producer under our transactional id, which writes its own log to `logger`."""


@dataclass(frozen=True, slots=True)
class Codecs:
    """The codecs of every record that a handler reads or writes.

    `events` and `address_messages` are by the format of the partition that writes them; the latest
    one reads all.
    """

    commands: RecordCodec[UserCommand]
    events: Mapping[int, RecordCodec[UserEvent]]
    outcomes: RecordCodec[CommandOutcome]
    claims: RecordCodec[EmailClaim]
    address_messages: Mapping[int, RecordCodec[AddressMessage]]
    letters: RecordCodec[DeadLetter]
    marks: RecordCodec[LogFormat]

    @classmethod
    def of(cls, codec: Callable[[str], RecordCodec[Any]]) -> "Codecs":
        """Return the codecs that `codec` makes from the names of the schemas."""
        return cls(
            commands=codec(COMMANDS.schema),
            events={number: codec(name) for number, name in EVENT_SCHEMAS.items()},
            outcomes=codec(OUTCOMES.schema),
            claims=codec(EMAILS.schema),
            address_messages={
                number: codec(name) for number, name in ADDRESS_MESSAGE_SCHEMAS.items()
            },
            letters=codec(DEAD_LETTERS.schema),
            marks=codec(MARK_SCHEMA),
        )

    @classmethod
    def from_registry(cls, registry: Registry) -> "Codecs":
        """Return the codecs with the registry's ids; raises what `Registry.codec` raises."""
        lookup = SchemaLookup(registry.schema_by_id)
        return cls.of(lambda name: registry.codec(name, lookup))
