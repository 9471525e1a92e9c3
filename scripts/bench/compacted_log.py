"""A log on which every user was updated ten times and which Kafka's cleaner has compacted since."""

import time
from contextlib import closing
from typing import Final

from confluent_kafka import TopicPartition
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin, assign, end_reader, poll_batch
from runtime.log_ranges import is_end
from runtime.settings import Settings
from schemas.errors import CheckFailed
from schemas.topics import EVENTS
from scripts.bench.event_log import EventWriter, events_of
from scripts.bench.people import people

UPDATES: Final = 10
# Cleaned as soon as a segment is closed, which is a second after it was begun.
_QUICKLY: Final = {
    "segment.ms": "1000",
    "max.compaction.lag.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
}
# A segment is closed by the next record: so many users, of every partition, go on changing.
_RESTLESS: Final = 500
_LEFT_OVER: Final = 1.02
_MOST_SECONDS: Final = 180.0
_READ_MESSAGES: Final = 10_000


def write_compacted(settings: Settings, count: int) -> int:
    """Write it for `count` users; return how many events the cleaner has left.

    Raises `CheckFailed` if it does not come to an end within three minutes.
    """
    _clean_quickly(settings)
    writer = EventWriter(settings)
    for version in range(1, 2 + UPDATES):
        writer.write(events_of(people(count), version))
    restless, version = min(count, _RESTLESS), 1 + UPDATES
    deadline = time.monotonic() + _MOST_SECONDS
    while True:
        time.sleep(1.1)  # the age at which the next record closes a segment
        version += 1
        writer.write(events_of(people(restless), version))
        left = _events(settings)
        if left <= count * _LEFT_OVER + 2 * restless:
            return left
        if time.monotonic() > deadline:
            raise CheckFailed(
                f"Kafka has cleaned the log of {count:,} users to {left:,} events only"
            )


def _clean_quickly(settings: Settings) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in _QUICKLY.items()
    ]
    topic = ConfigResource(
        ResourceType.TOPIC, settings.named(EVENTS.name), incremental_configs=entries
    )
    client = admin(settings)  # it ends its requests when it goes
    for altered in client.incremental_alter_configs([topic]).values():
        altered.result()


def _events(settings: Settings) -> int:
    """Return how many events there are to read."""
    count, unread = 0, set(range(settings.partitions))
    topic = settings.named(EVENTS.name)
    with closing(end_reader(settings)) as consumer:
        assign(consumer, [TopicPartition(topic, number, 0) for number in unread])
        while unread:
            for message in poll_batch(consumer, _READ_MESSAGES, REQUEST_TIMEOUT_SECONDS):
                if is_end(message):
                    unread.discard(message.partition() or 0)
                else:
                    count += 1
    return count
