"""A registry for one benchmark: a fresh prefix, filled, used and removed again."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID
from zlib import crc32

from confluent_kafka import KafkaException, Producer

from runtime.kafka.clients import admin, kafka_available, producer_config, transactional_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from schemas.identity import email_key, email_shard, partition_of
from schemas.records import CREATE_USER, UserCommand
from schemas.topics import COMMANDS, TOPICS
from scripts.bench.workload.people import people
from scripts.bench.workload.stores import remove_read_models

# Tags the commands whose rate is measured.
MEASURED_TAG = "user"
# Brokers allow 15 minutes by default; a million commands take half a minute.
_SEND_SECONDS = 600


def command_id(tag: str, number: int) -> str:
    """Return a UUID, as clients make them; all of one tag begin with the same 8 characters."""
    return str(UUID(int=crc32(tag.encode()) << 96 | number))


@contextmanager
def fresh_registry(settings: Settings) -> Iterator[Settings]:
    """Yield settings with a new prefix and its topics; remove topics and read models at the end."""
    own = replace(settings, prefix=f"bench-{secrets.token_hex(4)}")
    Registry(own).ensure()
    ensure_topics(own)
    try:
        yield own
    finally:
        remove_read_models(own)
        with kafka_available(own):
            client = admin(own)
            names = [own.named(topic.name) for topic in TOPICS]
            for deletion in client.delete_topics(names).values():
                deletion.result()


def send_creates(
    settings: Settings, count: int, tag: str = MEASURED_TAG, *, at_once: bool = False
) -> dict[int, int]:
    """Put `count` creations on the log; return partition → the offset after its last one.

    With `at_once` they are sent in one transaction, so that readers see all of them when this
    returns: the measured process does not share the machine with the sending.
    """
    codec = Registry(settings).codec(COMMANDS.schema)
    topic = settings.named(COMMANDS.name)
    ends: dict[int, int] = {}

    def appended(error: Any, message: Any) -> None:
        if error is not None:
            raise KafkaException(error)
        ends[message.partition()] = message.offset() + 1

    producer = _producer(settings, at_once=at_once)
    for number, person in enumerate(people(count, tag)):
        command: UserCommand = {
            "command_id": command_id(tag, number),
            "issued_at": time.time_ns() // 1_000_000,
            "kind": CREATE_USER,
            "email": person.email,
            "name": person.name,
            "age": person.age,
        }
        partition = partition_of(email_shard(email_key(person.email)), settings.partitions)
        value = codec.encode(command)
        while True:
            try:
                producer.produce(
                    topic, value, command["command_id"], partition, on_delivery=appended
                )
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    if at_once:
        producer.commit_transaction()
    return ends


def _producer(settings: Settings, *, at_once: bool) -> Producer:
    if not at_once:
        return Producer(producer_config(settings))
    config = transactional_config(settings, settings.named("bench-sender"))
    producer = Producer(config | {"transaction.timeout.ms": _SEND_SECONDS * 1000})
    producer.init_transactions()
    producer.begin_transaction()
    return producer
