"""Measures the command side: the handler, the limit it works under, the import, one command."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from producers.client import CommandClient
from producers.handler import CommandHandler
from runtime.kafka import arrived, consumer_config, transactional_config
from runtime.process import StopSignal
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import CheckFailed
from schemas.records import ACCEPTED, CommandOutcome, UserEvent
from schemas.topics import COMMANDS, EVENTS, HISTORY, OUTCOMES
from scripts.bench.people import people
from scripts.bench.read_side import events
from scripts.bench.registry_under_test import ROLLBOOK, running_handler

_LONE_COMMANDS = 300
_WARM_COMMANDS = 20


def handler_creates_per_second(settings: Settings, count: int) -> float:
    """Decide the `count` creations on the log in this process; return their rate.

    The clock runs from the end of the first batch, which also holds the start, to the last.
    """
    handler = CommandHandler(settings, Registry(settings), "bench", StopSignal())
    try:
        first_batch = 0
        while not first_batch:
            first_batch = handler.run_once()
        started, decided = time.perf_counter(), first_batch
        while decided < count:
            decided += handler.run_once()
        return (count - first_batch) / (time.perf_counter() - started)
    finally:
        handler.close()


def passthrough_per_second(settings: Settings, count: int) -> float:
    """Read the commands and write the handler's records for each: the limit of the handler.

    The same client, partitions, batches, records and transactions; nothing is decoded or decided,
    and the records were encoded before.
    """
    values = _encoded(settings, count)
    consumer = Consumer(consumer_config(settings, settings.named("bench-passthrough")))
    producer = Producer(transactional_config(settings, settings.named("bench-passthrough")))
    producer.init_transactions()
    topic = settings.named(COMMANDS.name)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.partitions)])
    metadata = consumer.consumer_group_metadata()
    passed = first_batch = 0
    unused = iter(values)
    started = 0.0
    while passed < count:
        taken: dict[int, list[tuple[bytes, int]]] = {}
        for message in arrived(consumer, settings.batch_commands, 1.0):
            if not message.error():
                key = (message.key() or b"", message.offset() or 0)
                taken.setdefault(message.partition() or 0, []).append(key)
        if not taken:
            continue
        _write(settings, producer, taken, unused)
        producer.send_offsets_to_transaction(
            [TopicPartition(topic, p, keys[-1][1] + 1) for p, keys in taken.items()], metadata
        )
        producer.commit_transaction()
        batch = sum(len(keys) for keys in taken.values())
        if not passed:
            first_batch, started = batch, time.perf_counter()
        passed += batch
    rate = (count - first_batch) / (time.perf_counter() - started)
    consumer.close()
    return rate


def _encoded(settings: Settings, count: int) -> list[tuple[bytes, bytes]]:
    """Return event and outcome of `count` creations; constant bytes would compress to nothing."""
    registry = Registry(settings)
    encode_event = registry.codec(EVENTS.schema).encode
    encode_outcome = registry.codec(OUTCOMES.schema).encode
    return [(encode_event(event), encode_outcome(_outcome(event))) for event in events(count)]


def _outcome(event: UserEvent) -> CommandOutcome:
    return {
        "command_id": event["command_id"],
        "command_offset": event["seq"],
        "decided_at": event["occurred_at"],
        "digest": event["seq"].to_bytes(8),
        "status": ACCEPTED,
        "user_id": event["user_id"],
        "version": 1,
        "seq": event["seq"],
        "code": None,
        "message": None,
        "repeated": False,
    }


def _write(
    settings: Settings,
    producer: Producer,
    taken: dict[int, list[tuple[bytes, int]]],
    values: Iterator[tuple[bytes, bytes]],
) -> None:
    producer.begin_transaction()
    for number, keys in taken.items():
        records = [(key, *next(values)) for key, _ in keys]
        latest = [{"key": key, "value": event} for key, event, _ in records]
        every = [{"key": key, "value": event} for key, event, _ in records]
        answers = [{"key": key, "value": outcome} for key, _, outcome in records]
        for topic, messages in ((EVENTS, latest), (HISTORY, every), (OUTCOMES, answers)):
            producer.produce_batch(settings.named(topic.name), messages, partition=number)


def import_users_per_second(settings: Settings, count: int) -> float:
    """Import a CSV file with `rollbook users import` through a handler process; return its rate.

    From the command's start to its end: reading, checking, sending, deciding and being answered.
    """
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "users.csv")
        lines = (f'{p.email},"{p.name}",{p.age}\n' for p in people(count, "import"))
        file.write_text("email,name,age\n" + "".join(lines), encoding="utf-8")
        with Path(directory, "handler.log").open("wb") as log, running_handler(settings, log):
            started = time.perf_counter()
            done = subprocess.run(
                [ROLLBOOK, "users", "import", str(file), "--json"],
                env=os.environ | {"ROLLBOOK_PREFIX": settings.prefix},
                capture_output=True,
                check=False,
            )
            seconds = time.perf_counter() - started
    created = json.loads(done.stdout or b"{}").get("created")
    if created != count:
        raise CheckFailed(f"the import created {created} of {count} users")
    return count / seconds


def lone_command_ms(settings: Settings) -> list[float]:
    """Return the milliseconds of lone commands from a warm client to an idle handler process."""
    with tempfile.TemporaryDirectory() as directory:
        log_file = Path(directory, "handler.log")
        with log_file.open("wb") as log, running_handler(settings, log):
            taken = []
            with CommandClient(settings) as client:
                for person in people(_WARM_COMMANDS + _LONE_COMMANDS, "lone"):
                    started = time.perf_counter()
                    client.create_user(person.email, person.name, person.age)
                    taken.append((time.perf_counter() - started) * 1000)
    return taken[_WARM_COMMANDS:]
