"""A registry of its own for one benchmark: a fresh prefix, filled, used and removed again."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from confluent_kafka import Producer

from runtime.kafka import admin, kafka_available, producer_config
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.topic_admin import ensure_topics
from schemas.errors import CheckFailed
from schemas.identity import email_key, email_shard, partition_of
from schemas.records import CREATE_USER, UserCommand
from schemas.topics import COMMANDS, TOPICS
from scripts.bench.people import people
from scripts.bench.stores import remove_read_models

ROLLBOOK = str(Path(sys.executable).with_name("rollbook"))
_READY_SECONDS = 120.0


@contextmanager
def fresh_registry(settings: Settings) -> Iterator[Settings]:
    """Give settings with a new prefix and its topics; topics and read models go at the end."""
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


def send_creates(settings: Settings, count: int) -> None:
    """Put `count` creations on the log."""
    codec = Registry(settings).codec(COMMANDS.schema)
    producer = Producer(producer_config(settings))
    topic = settings.named(COMMANDS.name)
    for number, person in enumerate(people(count)):
        command: UserCommand = {
            "command_id": f"bench-{number:032d}",
            "issued_at": time.time_ns() // 1_000_000,
            "kind": CREATE_USER,
            "email": person.email,
            "name": person.name,
            "age": person.age,
        }
        partition = partition_of(email_shard(email_key(person.email)), settings.partitions)
        producer.produce(topic, codec.encode(command), command["command_id"], partition)
    producer.flush()


@contextmanager
def running_handler(settings: Settings, log: IO[bytes]) -> Iterator[None]:
    """Run a command handler in a process of its own, ready when this is entered."""
    environment = os.environ | {"ROLLBOOK_PREFIX": settings.prefix}
    process = subprocess.Popen(
        [ROLLBOOK, "handler", "run", "--instance", "bench"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while Path(log.name).read_bytes().count(b"restored partition") < settings.partitions:
            if process.poll() is not None or time.monotonic() > deadline:
                raise CheckFailed(f"the handler did not start; its log is {log.name}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()
