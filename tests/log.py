"""Writes commands to the log and reads what became of them, as a test needs it."""

from collections import Counter
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from confluent_kafka import Producer, TopicPartition

from runtime.kafka import assign, end_reader, poll_batch, producer_config
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.identity import email_shard, partition_of
from schemas.records import CommandOutcome, UserEvent
from schemas.topics import COMMANDS, EVENTS, HISTORY, OUTCOMES, Topic
from tests.given import create


def read(settings: Settings, topic: Topic) -> Iterator[Any]:
    """Yield (partition, record) of a topic from its beginning to its end.

    In order within a partition; between partitions as they come.
    """
    codec = Registry(settings).codec(topic.schema)
    partitions = 1 if topic.one_partition else settings.partitions
    consumer = end_reader(settings)
    name = settings.named(topic.name)
    assign(consumer, [TopicPartition(name, number, 0) for number in range(partitions)])
    open_partitions = set(range(partitions))
    while open_partitions:
        for message in poll_batch(consumer, 10_000, 1.0):
            if message.error():
                open_partitions.discard(message.partition() or 0)
            else:
                yield message.partition(), codec.decode(message.value())
    consumer.close()


def send_creates(settings: Settings, tag: str, count: int) -> None:
    """Put `count` creations on the log without waiting for answers."""
    codec = Registry(settings).codec(COMMANDS.schema)
    producer = Producer(producer_config(settings))
    for n in range(count):
        email = f"{tag}{n}@example.com"
        command = create(email, command_id=f"{tag}-{n}")
        partition = partition_of(email_shard(email), settings.partitions)
        producer.produce(
            settings.named(COMMANDS.name), codec.encode(command), f"{tag}-{n}", partition
        )
    producer.flush()


def decided(settings: Settings) -> int:
    """Return how many commands have an outcome."""
    return sum(1 for _ in read(settings, OUTCOMES))


def assert_exactly_once(settings: Settings, commands: int) -> None:
    """Every command has one outcome and one event; seq, versions and addresses have no flaw."""
    outcomes: list[tuple[int, CommandOutcome]] = list(read(settings, OUTCOMES))
    history: list[tuple[int, UserEvent]] = list(read(settings, HISTORY))
    assert len(outcomes) == len({outcome["command_id"] for _, outcome in outcomes}) == commands
    assert {outcome["status"] for _, outcome in outcomes} == {"accepted"}
    assert len(history) == commands
    for partition in range(settings.partitions):
        seqs = [event["seq"] for number, event in history if number == partition]
        assert seqs == list(range(1, len(seqs) + 1))
        offsets = [o["command_offset"] for number, o in outcomes if number == partition]
        assert offsets == sorted(set(offsets))
    addresses = Counter(event["user"]["email_key"] for _, event in history if event["user"])
    assert set(addresses.values()) == {1}
    partition_of_record = itemgetter(0)
    events = sorted(read(settings, EVENTS), key=partition_of_record)
    assert events == sorted(history, key=partition_of_record)
