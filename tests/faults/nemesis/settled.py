"""Whether nothing is in transit: what was sent is decided, and so is all that followed."""

from contextlib import closing
from itertools import chain

from confluent_kafka import KafkaException, TopicPartition

from producers.handler.members import GROUP
from runtime.kafka.clients import end_reader, lone_consumer
from runtime.settings import Settings
from runtime.topics.log_ranges import LogRange, log_ranges, read_topic
from schemas.errors import RollbookError
from schemas.topics import COMMANDS, HOPS, Topic


def is_settled(settings: Settings) -> bool:
    """Return whether handlers have committed all commands and messages, while no client sends."""
    try:
        # Commands send messages, but no message sends a command.
        return all(_is_decided(settings, topic) for topic in (COMMANDS, HOPS))
    except (RollbookError, KafkaException):
        return False


def _is_decided(settings: Settings, topic: Topic) -> bool:
    numbers = range(settings.partitions)
    places = [TopicPartition(settings.named(topic.name), number) for number in numbers]
    with closing(lone_consumer(settings, **{"group.id": settings.named(GROUP)})) as member:
        committed = {place.partition: place.offset for place in member.committed(places, 10)}
    # Later than the offsets: a message that was sent in between is not overlooked.
    ends = log_ranges(settings, topic, numbers)
    left = {
        number: LogRange(max(committed[number], ends[number].low), ends[number].end)
        for number in numbers
        if max(committed[number], ends[number].low) < ends[number].end
    }
    # What is left may be markers of transactions, which no reader sees.
    with closing(end_reader(settings)) as reader:
        return not any(chain.from_iterable(read_topic(settings, reader, topic, left)))
