"""What a handler relies on, as scenarios for any cluster: each returns what it observed."""

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from producers.handler.clients import Clients
from tests.started.processes import eventually

PARTITIONS = 4
LOGGER = logging.getLogger("unused")
Seen = list[Any]


@dataclass(frozen=True)
class Broker:
    """A cluster with the topics of the commands and the events, of which partition 0 is used."""

    commands: str
    events: str
    clients: Callable[[str], Clients]
    append: Callable[[str, bytes], object]
    delete_before: Callable[[str, int], object]
    # A broker does so by itself, some time after a member's death.
    end_session: Callable[[str], object]


class Membership:
    """A group member that accepts its assignments and records the rebalances it saw."""

    def __init__(self, clients: Clients, topic: str) -> None:
        self.consumer = clients.group_consumer()
        self.owned: set[int] = set()
        self.calls: list[str] = []
        self.errors: list[Any] = []
        self.messages: list[Message] = []
        self.consumer.subscribe(
            [topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke
        )

    def _assign(self, _consumer: Any, places: list[TopicPartition]) -> None:
        self.consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in places])
        self.owned |= {place.partition for place in places}
        if places:
            self.calls.append(f"assign {len(places)}")

    def _revoke(self, _consumer: Any, places: list[TopicPartition]) -> None:
        self.consumer.incremental_unassign(places)
        self.owned -= {place.partition for place in places}
        self.calls.append(f"revoke {len(places)}")

    def poll(self) -> None:
        """Serve the group and keep the message that arrives, if any."""
        message = self.consumer.poll(0.05)
        if message is not None:
            (self.errors if message.error() else self.messages).append(message)


def poll_until(condition: Callable[[], object], *members: Membership) -> None:
    def polled() -> object:
        for member in members:
            member.poll()
        return condition()

    eventually(polled, 30)


def started(clients: Clients) -> Producer:
    """Return a producer that is ready for its first transaction."""
    found = clients.transactional_producer(LOGGER)

    def is_ready() -> bool:
        try:
            found.init_transactions(10)
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            return False
        return True

    eventually(is_ready)
    return found


def produce(client: Producer, topic: str, value: bytes) -> None:
    client.begin_transaction()
    client.produce(topic, key=b"key", value=value, partition=0)
    assert client.flush(10) == 0


def values(consumer: Consumer, topic: str, end: int) -> Seen:
    """Read partition 0 up to where its end is reported; return the values and that offset."""
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: Seen = []

    def is_at_the_end() -> bool:
        message = consumer.poll(0.05)
        if message is None:
            return False
        if message.error() is None:
            found.append((message.offset(), message.value()))
            return False
        found.append(("end", message.offset()))
        return (message.offset() or 0) >= end

    eventually(is_at_the_end, 30)
    return found


def why(action: Callable[[], object]) -> Seen:
    """Return a description of an action's failure."""
    with pytest.raises(KafkaException) as raised:
        action()
    error = raised.value.args[0]
    return [error.name(), error.fatal(), error.retriable(), error.txn_requires_abort()]


def what_a_reader_receives(broker: Broker) -> Seen:
    """Committed records; nothing of an aborted or open transaction; markers take offsets."""
    clients = broker.clients("a")
    client = started(clients)
    produce(client, broker.events, b"aborted")
    client.abort_transaction(10)
    produce(client, broker.events, b"committed")
    client.commit_transaction(10)
    with (
        closing(clients.committed_reader()) as reader,
        closing(clients.uncommitted_reader()) as high,
    ):
        # A broker writes the marker after it has answered the commit.
        values(reader, broker.events, 4)
        broker.append(broker.events, b"outside")
        produce(client, broker.events, b"open")
        broker.append(broker.events, b"behind")
        place = TopicPartition(broker.events, 0)
        seen: Seen = [values(reader, broker.events, 5)]
        seen.append(high.get_watermark_offsets(place, timeout=10))
        client.commit_transaction(10)
        seen.append(values(reader, broker.events, 8))
        seen.append(high.get_watermark_offsets(place, timeout=10))
    return seen


def a_new_producer_fences_the_old_one(broker: Broker) -> Seen:
    """What the old one left open is aborted; its commit fails for good."""
    old = started(broker.clients("a"))
    produce(old, broker.events, b"old")
    new = started(broker.clients("a"))
    seen: Seen = why(lambda: old.commit_transaction(10))
    produce(new, broker.events, b"new")
    new.commit_transaction(10)
    with closing(broker.clients("a").committed_reader()) as reader:
        return [seen, values(reader, broker.events, 4)]


def offsets_commit_with_their_transaction(broker: Broker) -> Seen:
    """A request for them waits while it is open; an abort leaves them unchanged."""
    clients = broker.clients("a")
    member = Membership(clients, broker.commands)
    poll_until(lambda: member.owned, member)
    client = started(clients)
    place = TopicPartition(broker.commands, 0)
    seen: Seen = []
    for offset, end in ((7, client.abort_transaction), (8, client.commit_transaction)):
        produce(client, broker.events, b"event")
        client.send_offsets_to_transaction(
            [TopicPartition(broker.commands, 0, offset)],
            member.consumer.consumer_group_metadata(),
            10,
        )
        try:
            [found] = member.consumer.committed([place], timeout=0.5)
            seen.append(found.error)
        except KafkaException as error:
            seen.append(error.args[0].name())
        end(10)
        [found] = member.consumer.committed([place], timeout=10)
        seen.append(found.offset)
    member.consumer.close()
    return seen


def a_member_of_an_old_generation_cannot_commit(broker: Broker) -> Seen:
    """A second member has joined since; after the abort the next transaction is fine."""
    clients = broker.clients("a")
    first = Membership(clients, broker.commands)
    poll_until(lambda: len(first.owned) == PARTITIONS, first)
    old = first.consumer.consumer_group_metadata()
    second = Membership(broker.clients("b"), broker.commands)
    poll_until(lambda: len(first.owned) == len(second.owned) == 2, first, second)
    client = started(clients)
    offsets = [TopicPartition(broker.commands, 0, 1)]
    produce(client, broker.events, b"refused")
    seen: Seen = why(lambda: client.send_offsets_to_transaction(offsets, old, 10))
    client.abort_transaction(10)
    produce(client, broker.events, b"accepted")
    now = first.consumer.consumer_group_metadata()
    client.send_offsets_to_transaction(offsets, now, 10)
    client.commit_transaction(10)
    for member in (first, second):
        member.consumer.close()
    return [seen, first.calls, second.calls]


def a_member_whose_identity_joins_again_is_fenced(broker: Broker) -> Seen:
    """It can neither commit nor stay; the new one has the partitions without a rebalance."""
    clients = broker.clients("a")
    old = Membership(clients, broker.commands)
    poll_until(lambda: len(old.owned) == PARTITIONS, old)
    metadata = old.consumer.consumer_group_metadata()
    new = Membership(broker.clients("a"), broker.commands)
    poll_until(lambda: len(new.owned) == PARTITIONS, new)
    client = started(clients)
    produce(client, broker.events, b"refused")
    offsets = [TopicPartition(broker.commands, 0, 1)]
    seen: Seen = why(lambda: client.send_offsets_to_transaction(offsets, metadata, 10))
    client.abort_transaction(10)
    poll_until(lambda: old.errors, old)
    seen += [old.errors[0].error().name(), old.calls, new.calls]
    for member in (old, new):
        member.consumer.close()
    return seen


def a_consumer_seeks_and_pauses(broker: Broker) -> Seen:
    """A seek delivers messages again; a paused partition delivers none."""
    for n in range(4):
        broker.append(broker.commands, b"%d" % n)
    member = Membership(broker.clients("a"), broker.commands)
    place = TopicPartition(broker.commands, 0)
    poll_until(lambda: len(member.messages) == 4, member)
    member.consumer.seek(TopicPartition(broker.commands, 0, 2))
    poll_until(lambda: len(member.messages) == 6, member)
    member.consumer.pause([place])
    broker.append(broker.commands, b"4")
    seen: Seen = [member.consumer.consume(10, 0.3)]
    member.consumer.resume([place])
    poll_until(lambda: len(member.messages) == 7, member)
    member.consumer.close()
    return [seen, [message.offset() for message in member.messages]]


def a_position_that_retention_has_passed_is_an_error(broker: Broker) -> Seen:
    """The consumer never jumps silently."""
    for n in range(4):
        broker.append(broker.commands, b"%d" % n)
    broker.delete_before(broker.commands, 2)
    member = Membership(broker.clients("a"), broker.commands)
    poll_until(lambda: member.errors, member)
    low, high = member.consumer.get_watermark_offsets(
        TopicPartition(broker.commands, 0), timeout=10
    )
    member.consumer.close()
    return [member.errors[0].error().name(), low, high]


SCENARIOS = (
    what_a_reader_receives,
    a_new_producer_fences_the_old_one,
    offsets_commit_with_their_transaction,
    a_member_of_an_old_generation_cannot_commit,
    a_member_whose_identity_joins_again_is_fenced,
    a_consumer_seeks_and_pauses,
    a_position_that_retention_has_passed_is_an_error,
)
