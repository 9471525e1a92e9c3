"""The upper bound of the command handler: a process that writes prepared records.

It answers commands with what the handler wrote for the same commands in another registry, record by
record, in transactions of the same size, with the same client options. Nothing is decoded, decided
or encoded.
"""

import gc
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

from confluent_kafka import Consumer, Producer, TopicPartition

from projectors.log.event_log import read_log
from runtime.kafka import consumer_config, poll_batch, transactional_config
from runtime.settings import Settings
from schemas.codec import RecordCodec
from schemas.topics import COMMANDS, EVENTS, HISTORY, OUTCOMES
from scripts.bench.workload.registry_under_test import MEASURED_TAG, command_id

GROUP = "bench-passthrough"
_WRITTEN = (EVENTS, HISTORY, OUTCOMES)
# How long to wait for more commands when a transaction is not full yet.
_FILL_SECONDS = 0.001


@dataclass(slots=True)
class Written:
    """What a handler wrote, by (topic, partition) in the order of the log.

    `records` are ready to be produced, `offsets` are their places; each gap between two offsets is
    the marker of a transaction.
    """

    records: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)
    offsets: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def commands_per_transaction(self, most: int) -> int:
        """Return the mean size, at most `most`, of the transactions of the measured commands.

        A transaction leaves a marker in every partition it wrote to. The partition with the most
        markers is counted, so that the size is rather too large, which favours the upper bound.
        """
        commands, transactions, prefix = 0, 1, command_id(MEASURED_TAG, 0)[:8].encode()
        for (topic, number), records in self.records.items():
            if topic == OUTCOMES.name:
                measured = [
                    offset
                    for record, offset in zip(records, self.offsets[topic, number], strict=True)
                    if record["key"].startswith(prefix)
                ]
                commands += len(measured)
                markers = sum(after > before + 1 for before, after in pairwise(measured))
                transactions = max(transactions, 1 + markers)
        return min(most, max(1, commands // transactions))


class _Undecoded:
    """A codec that leaves records encoded."""

    def decode(self, value: bytes) -> bytes:
        return value


def read_written(settings: Settings) -> Written:
    """Read everything the handler of a registry has written until now."""
    written, undecoded = Written(), cast("RecordCodec[bytes]", _Undecoded())
    for topic in _WRITTEN:
        partitions = range(settings.partitions)
        for batch in read_log(settings, undecoded, topic, partitions, "beginning", follow=False):
            for record in batch:
                place = (topic.name, record.partition)
                ready = {"key": record.key, "value": record.event}
                written.records.setdefault(place, []).append(ready)
                written.offsets.setdefault(place, []).append(record.offset)
    return written


def pass_through(settings: Settings, copied: Settings) -> None:
    """Answer the commands of `settings` with the records of `copied` until terminated."""
    written = read_written(copied)
    commands_per_transaction = written.commands_per_transaction(settings.batch_commands)
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
                records = written.records[name, number][start : start + count]
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
