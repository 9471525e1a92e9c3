"""Lets one process at a time rebuild a read model, on whichever machine it runs.

A consumer group with one partition serves as the mutex: whichever member is assigned the partition
holds the lock. It needs no store, and the lock of a process that dies expires with its session.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from runtime.kafka import client_classes
from runtime.kafka.access import is_denied
from runtime.kafka.clients import (
    REQUEST_TIMEOUT_SECONDS,
    admin,
    consumer_config,
    kafka_available,
    kafka_failure,
)
from runtime.settings import Settings
from runtime.topics.admin import check_topics
from schemas.errors import Rejected
from schemas.topics import DEAD_LETTERS

# How much longer than the session timeout to wait: then a killed process has lost the lock.
_SPARE_SECONDS: Final = 6.0
_POLL_SECONDS: Final = 0.2


@contextmanager
def rebuild_lock(settings: Settings, name: str) -> Iterator[None]:
    """Hold the lock for rebuilding the read model `name`.

    Blocks until a killed process would have lost it. Raises `Rejected` (`rebuild_running`) if
    another process still holds it then, `Unavailable`, `Forbidden` if we may not join the group or
    describe it, and what `check_topics` raises.
    """
    check_topics(settings)  # a member of a group would not notice that brokers refuse its login
    member = _Member(settings, name)
    try:
        member.is_settled.wait(settings.session_timeout_seconds + _SPARE_SECONDS)
        if member.denied is not None:
            permission = f"Read on group {_group(settings, name)} and on topic {member.topic}"
            raise kafka_failure(settings, KafkaException(member.denied), permission)
        if not member.is_settled.is_set():
            is_rebuilding(settings, name)  # raises if brokers do not answer
            raise Rejected(
                f"another process is rebuilding {name}",
                code="rebuild_running",
                next_step="wait for it, or stop it",
            )
        yield
    finally:
        member.leave()


def is_rebuilding(settings: Settings, name: str) -> bool:
    """Return whether any process holds, or waits for, the lock of the read model `name`.

    A process that was killed counts until its session has expired. Raises `Unavailable`, and
    `Forbidden` if we may not describe the group.
    """
    group = _group(settings, name)
    with kafka_available(settings, f"Describe on group {group}"):
        client = admin(settings)  # kept in a variable: its futures never resolve once it is gone
        [described] = client.describe_consumer_groups(
            [group], request_timeout=REQUEST_TIMEOUT_SECONDS
        ).values()
        try:
            return bool(described.result().members)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return False
            raise


def _group(settings: Settings, name: str) -> str:
    return settings.named(f"rollbook-rebuild-{name}")


class _Member:
    """Membership in the group, kept alive by a thread.

    `is_settled` is set once it has the partition, or brokers have denied it: `denied` is then why.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.topic = settings.named(DEAD_LETTERS.name)
        self.is_settled = threading.Event()
        self.denied: KafkaError | None = None
        self._leaving = threading.Event()
        session_ms = int(settings.session_timeout_seconds * 1000)
        self._consumer = client_classes.Consumer(
            consumer_config(settings, _group(settings, name))
            | {
                # The owner keeps the partition when another member joins.
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": session_ms // 3,
            }
        )
        with kafka_available(settings):
            self._consumer.subscribe([self.topic], on_assign=self._on_assign)
        self._thread = threading.Thread(target=self._poll, name=f"rebuild-{name}", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Leave the group."""
        self._leaving.set()
        self._thread.join()
        self._consumer.close()

    def _poll(self) -> None:
        while not self._leaving.is_set():
            message = self._consumer.poll(_POLL_SECONDS)
            error = None if message is None else message.error()
            if error is not None and is_denied(error) and not self.is_settled.is_set():
                self.denied = error
                self.is_settled.set()

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if places:
            # Assigned at 0, not at a logical offset; nothing is read.
            consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in places])
            consumer.pause(places)
            self.is_settled.set()
