"""What a handler needs from the outside: clients of the log, and codecs of its records.

The protocols list what is used of `confluent_kafka`'s classes, with the same behaviour. There are
two implementations: Kafka's own clients (`producers.handler.start`) and the in-memory log of the
tests, over which the same code runs through rebalances, fencing and aborts in milliseconds.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import TopicPartition

from runtime.kafka import LogConsumer
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

RebalanceCallback = Callable[[Any, list[TopicPartition]], None]


class Consumer(LogConsumer, Protocol):
    """What a handler uses of `confluent_kafka.Consumer`. Every failure is a KafkaException."""

    def subscribe(
        self,
        topics: list[str],
        on_assign: RebalanceCallback,
        on_revoke: RebalanceCallback,
        on_lost: RebalanceCallback,
    ) -> None:
        """Join the group; the callbacks run inside `poll` and `consume` only."""

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Read these as well, from their offsets."""

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Stop reading these."""

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Deliver nothing of these until `resume`."""

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Deliver messages of these again."""

    def seek(self, partition: TopicPartition) -> None:
        """Continue reading at this offset."""

    def committed(
        self, partitions: list[TopicPartition], timeout: float = ...
    ) -> list[TopicPartition]:
        """Return the group's offsets; times out while a transaction that sets them is open."""

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = ...
    ) -> tuple[int, int]:
        """Return the first offset and the end that this consumer's isolation level allows."""

    def consumer_group_metadata(self) -> Any:
        """Return the member and generation with which to commit offsets in a transaction."""

    def memberid(self) -> str:
        """Return the member's id, empty while the group does not know it."""

    def close(self) -> None:
        """Stop reading; a static member stays in the group until its session ends."""


class Producer(Protocol):
    """What a handler uses of a transactional `confluent_kafka.Producer`.

    Every failure is a KafkaException; the error's `retriable`, `txn_requires_abort` and `fatal` say
    what may follow.
    """

    def init_transactions(self, timeout: float, /) -> None:
        """Fence every earlier producer of this transactional id and abort what it left open."""

    def begin_transaction(self) -> None:
        """Begin a transaction, without asking the broker."""

    def produce(self, topic: str, value: bytes, key: bytes, partition: int) -> None:
        """Queue one record."""

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], partition: int) -> int:
        """Queue records; return how many were queued, and put an `_error` into the others."""

    def poll(self, timeout: float, /) -> int:
        """Serve the producer's log and callbacks."""

    def flush(self, timeout: float, /) -> int:
        """Wait until what was queued is delivered; return how much was not."""

    def send_offsets_to_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, timeout: float, /
    ) -> None:
        """Commit offsets with the transaction; refused from an old generation of the group."""

    def commit_transaction(self, timeout: float, /) -> None:
        """Deliver what is queued and commit."""

    def abort_transaction(self, timeout: float, /) -> None:
        """Drop what is queued and abort."""


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
        return cls(*(registry.codec(topic.schema) for topic in topics))
