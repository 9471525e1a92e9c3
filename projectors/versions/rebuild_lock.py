"""Lets one process at a time rebuild a read model, wherever the others run.

A consumer group on a topic of one partition is the turn: who is given the partition may go on. No
store is needed for it, and a process that dies gives it up when its session ends.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from runtime.kafka import consumer_config, kafka_available
from runtime.settings import Settings
from schemas.errors import Rejected
from schemas.topics import DEAD_LETTERS

# Beyond the session, after which a process that was killed no longer has the turn.
_PATIENCE_SECONDS: Final = 6.0
_POLL_SECONDS: Final = 0.2


@contextmanager
def only_rebuild(settings: Settings, name: str) -> Iterator[None]:
    """Hold the turn to rebuild the read model `name` while within.

    Raises `Rejected` (`rebuild_running`) if another process has it for longer than one that was
    killed would, `Unavailable`.
    """
    turn = _Turn(settings, name)
    try:
        if not turn.given.wait(settings.session_timeout_seconds + _PATIENCE_SECONDS):
            raise Rejected(
                f"another process is rebuilding {name}",
                code="rebuild_running",
                next_step="wait for it, or stop it",
            )
        yield
    finally:
        turn.end()


class _Turn:
    """Membership in the group, kept up by a thread; `given` is set once the partition is ours."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.given = threading.Event()
        self._ended = threading.Event()
        session_ms = int(settings.session_timeout_seconds * 1000)
        self._consumer = Consumer(
            consumer_config(settings, settings.named(f"rollbook-rebuild-{name}"))
            | {
                # Who has the partition keeps it when another comes.
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": session_ms // 3,
            }
        )
        with kafka_available(settings):
            self._consumer.subscribe([settings.named(DEAD_LETTERS.name)], on_assign=self._on_assign)
        self._thread = threading.Thread(target=self._keep, name=f"rebuild-{name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Leave the group."""
        self._ended.set()
        self._thread.join()
        self._consumer.close()

    def _keep(self) -> None:
        while not self._ended.is_set():
            self._consumer.poll(_POLL_SECONDS)

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if places:
            # At 0, not at a logical offset; and nothing of it is read.
            consumer.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in places])
            consumer.pause(places)
            self.given.set()
