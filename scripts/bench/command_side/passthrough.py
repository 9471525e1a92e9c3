"""The upper bound of the command handler: a process that writes prepared records.

It answers commands with what the handler wrote for the same commands in another registry, record by
record, with the same client options, in transactions of the size at which it is fastest. Nothing is
decoded, decided or encoded.
"""

import gc
from collections import Counter
from typing import Any, cast

from confluent_kafka import Consumer, Producer, TopicPartition

from projectors.log.event_log import read_log
from runtime.kafka.clients import consumer_config, poll_batch, transactional_config
from runtime.settings import Settings
from schemas.coding.codec import RecordCodec
from schemas.topics import COMMANDS, EVENTS, HISTORY, OUTCOMES

GROUP = "bench-passthrough"
# Tried in turn: the fastest one counts.
COMMANDS_PER_TRANSACTION = (500, 2_000, 10_000, 50_000)
_WRITTEN = (EVENTS, HISTORY, OUTCOMES)
# How long to wait for more commands when a transaction is not full yet.
_FILL_SECONDS = 0.001


# (topic, partition) → the records that a handler wrote there, ready to be produced, in the order of
# the log.
Written = dict[tuple[str, int], list[dict[str, Any]]]


class _Undecoded:
    """A codec that leaves records encoded."""

    def decode(self, value: bytes) -> bytes:
        return value


def read_written(settings: Settings) -> Written:
    """Read everything the handler of a registry has written until now."""
    written: Written = {}
    undecoded = cast("RecordCodec[bytes]", _Undecoded())
    for topic in _WRITTEN:
        partitions = range(settings.partitions)
        for batch in read_log(settings, undecoded, topic, partitions, "beginning", follow=False):
            for record in batch:
                place = (topic.name, record.partition)
                ready = {"key": record.key, "value": record.event}
                written.setdefault(place, []).append(ready)
    return written


def pass_through(settings: Settings, copied: Settings, commands_per_transaction: int) -> None:
    """Answer the commands of `settings` with the records of `copied` until terminated."""
    written = read_written(copied)
    topic, group = settings.named(COMMANDS.name), settings.named(GROUP)
    consumer = Consumer(consumer_config(settings, group))
    producer = Producer(transactional_config(settings, group))
    producer.init_transactions()
    consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.partitions)])
    metadata = consumer.consumer_group_metadata()
    done = Counter[int]()
    # Keeps Python's garbage collector from scanning the prepared records repeatedly.
    gc.freeze()
    while True:
        ends, counts = _take(consumer, commands_per_transaction)
        if not counts:
            continue
        producer.begin_transaction()
        for number, count in counts.items():
            start = done[number]
            for name in (written_topic.name for written_topic in _WRITTEN):
                records = written[name, number][start : start + count]
                producer.produce_batch(settings.named(name), records, partition=number)
            done[number] += count
        places = [TopicPartition(topic, number, end) for number, end in ends.items()]
        producer.send_offsets_to_transaction(places, metadata)
        producer.commit_transaction()


def _take(consumer: Consumer, most: int) -> tuple[dict[int, int], Counter[int]]:
    """Return the next offset and the number of commands per partition, at most `most` in all."""
    ends: dict[int, int] = {}
    counts = Counter[int]()
    while counts.total() < most:
        wait_seconds = _FILL_SECONDS if counts else 1.0
        messages = poll_batch(consumer, most - counts.total(), wait_seconds)
        if not messages:
            break
        for message in messages:
            if message.error() is None:
                number = message.partition() or 0
                ends[number] = (message.offset() or 0) + 1
                counts[number] += 1
    return ends, counts
