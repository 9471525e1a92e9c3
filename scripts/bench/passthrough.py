"""The limit of the command handler: a process that reads commands and writes ready-made records.

It copies what the handler wrote for the same commands in another registry, record by record, in
transactions of the same size, with the same client options. Nothing is decoded, decided or encoded.
"""

import gc
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from runtime.kafka import (
    REQUEST_TIMEOUT_SECONDS,
    assign,
    consumer_config,
    end_reader,
    poll_batch,
    transactional_config,
)
from runtime.log_ranges import is_end
from runtime.settings import Settings
from schemas.topics import COMMANDS, EVENTS, HISTORY, OUTCOMES
from scripts.bench.registry_under_test import MEASURED_TAG, command_id

GROUP = "bench-passthrough"
_WRITTEN = (EVENTS, HISTORY, OUTCOMES)
_READ_MESSAGES = 10_000
# So long more commands are waited for when a transaction is not full yet.
_FILL_SECONDS = 0.001


@dataclass(slots=True)
class Written:
    """What a handler wrote, by (topic, partition) in the order of the log.

    `records` are ready to be produced. `offsets` are theirs: each gap between two of them is the
    marker of a transaction.
    """

    records: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)
    offsets: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def commands_per_transaction(self, most: int) -> int:
        """Return the mean size, at most `most`, of the transactions of the measured commands.

        A transaction leaves a marker in every partition it wrote to. Counted is the partition with
        most of them, so that the size comes out rather too large, which flatters the limit.
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


def read_written(settings: Settings) -> Written:
    """Read all that the handler of a registry wrote, to the end there is now."""
    written = Written()
    with closing(end_reader(settings)) as consumer:
        places = {
            (settings.named(topic.name), number): (topic.name, number)
            for topic in _WRITTEN
            for number in range(settings.partitions)
        }
        assign(consumer, [TopicPartition(*place, 0) for place in places])
        unread = set(places)
        while unread:
            for message in poll_batch(consumer, _READ_MESSAGES, REQUEST_TIMEOUT_SECONDS):
                place = (message.topic() or "", message.partition() or 0)
                if is_end(message):
                    unread.discard(place)
                    continue
                record = {"key": message.key(), "value": message.value()}
                written.records.setdefault(places[place], []).append(record)
                written.offsets.setdefault(places[place], []).append(message.offset() or 0)
    return written


def pass_through(settings: Settings, copied: Settings) -> None:
    """Answer the commands of `settings` with the records of `copied`, until terminated."""
    written = read_written(copied)
    commands_per_transaction = written.commands_per_transaction(settings.batch_commands)
    topic, group = settings.named(COMMANDS.name), settings.named(GROUP)
    consumer = Consumer(consumer_config(settings, group))
    producer = Producer(transactional_config(settings, group))
    producer.init_transactions()
    consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.partitions)])
    metadata = consumer.consumer_group_metadata()
    done = Counter[int]()
    # Python's cycle collector would walk through the ready-made records again and again.
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
    """Return what has arrived, at most `most` commands: partition → next offset, and → how many."""
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
