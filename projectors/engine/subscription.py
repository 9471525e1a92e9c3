"""A group's share of a topic: which partitions are ours, and records we can trust the order of.

Batches of librdkafka may bring records from before a seek or a rebalance (confluent-kafka-python
#1013, #1443), so what is taken is checked: a record of a partition that is not ours, or was not yet
started, or below the expected offset, is dropped.

A partition that is assigned is read only once `start` said from where: finding that out may fail
and wait, which a rebalance callback must not.
"""

import logging
import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from runtime.kafka import consumer_config, kafka_available, kafka_unavailable, poll_batch
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.topics import Topic

log = logging.getLogger(__name__)

COMMIT_EVERY_SECONDS = 1.0
_POLL_SECONDS = 0.2


class Subscription:
    """Membership in a consumer group. Not for several threads.

    `waiting` are partitions of ours that `start` has not been called for; `next` maps the others to
    the offset expected next. `losses` grows whenever partitions were taken away or have to begin
    again: what was taken before may then no longer be ours.
    """

    def __init__(self, settings: Settings, topic: Topic, group: str) -> None:
        self._settings = settings
        self._topic = settings.named(topic.name)
        self._consumer = Consumer(
            consumer_config(settings, settings.named(group))
            | {
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(settings.session_timeout_seconds * 1000),
                "heartbeat.interval.ms": int(settings.session_timeout_seconds * 1000 / 3),
                # Tells of the end, past the markers that end a transaction.
                "enable.partition.eof": True,
            }
        )
        self.waiting: set[int] = set()
        self.next: dict[int, int] = {}
        self.losses = 0
        self._early: list[KafkaMessage] = []
        self._reached: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._commit_due = 0.0

    def open(self) -> None:
        """Join the group."""
        with kafka_available(self._settings):
            self._consumer.subscribe(
                [self._topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_revoke,
            )

    def start(self, offsets: Mapping[int, int]) -> None:
        """Read partitions that are ours from these offsets on."""
        places = [TopicPartition(self._topic, p, offset) for p, offset in offsets.items()]
        if not places:
            return
        with kafka_available(self._settings):
            # Of those that an earlier try left unassigned there is nothing to unassign.
            held = {place.partition for place in self._consumer.assignment()}
            self._consumer.incremental_unassign([p for p in places if p.partition in held])
            self._consumer.incremental_assign(places)
        self.next.update(offsets)
        self.waiting.difference_update(offsets)

    def restart(self) -> None:
        """Let every partition of ours wait for `start` again."""
        self.waiting.update(self.next)
        self.next.clear()
        self._early.clear()
        self.losses += 1

    def take(self, most: int, wait_seconds: float) -> list[KafkaMessage]:
        """Return what has arrived, at most `most`; wait only for the first.

        Raises `Unavailable` after any error, and then every partition waits for `start`.
        """
        try:
            early, self._early = self._early, []
            messages = early + poll_batch(self._consumer, most, 0 if early else wait_seconds)
            return [message for message in messages if self._is_expected(message)]
        except KafkaException as error:
            # Nothing may be lost: not the rest of this batch, nor a broken record that librdkafka
            # goes past. So every partition begins again where the read model is.
            self.restart()
            raise kafka_unavailable(self._settings, error) from error

    def hold_still(self, seconds: float, stopping: StopSignal) -> None:
        """Stay in the group for `seconds` without taking anything; less when asked to stop."""
        with kafka_available(self._settings):
            self._consumer.pause(self._consumer.assignment())
            try:
                until = time.monotonic() + seconds
                while not stopping and (left := until - time.monotonic()) > 0:
                    message = self._consumer.poll(min(left, _POLL_SECONDS))
                    if message is not None:
                        self._early.append(message)
            finally:
                self._consumer.resume(self._consumer.assignment())

    def commit(self, reached: Mapping[int, int]) -> None:
        """Tell the group how far we are, for lag tools; at most once a second, never waiting.

        Nothing of ours reads it: the checkpoint is with the data.
        """
        self._reached = dict(reached)
        now = time.monotonic()
        if now >= self._commit_due and self._reached != self._committed:
            self._commit_due = now + COMMIT_EVERY_SECONDS
            self._commit(asynchronous=True)

    def close(self) -> None:
        """Leave the group."""
        if self._reached != self._committed:
            self._commit(asynchronous=False)
        self._consumer.close()

    def _commit(self, *, asynchronous: bool) -> None:
        self._committed = self._reached
        offsets = [TopicPartition(self._topic, p, offset) for p, offset in self._reached.items()]
        try:
            # One call for either way, which the client's types do not foresee.
            self._consumer.commit(offsets=offsets, asynchronous=asynchronous)  # type: ignore[call-overload]
        except KafkaException as error:
            log.warning("offsets of the group not committed: %s", error.args[0].str())

    def _is_expected(self, message: KafkaMessage) -> bool:
        partition, offset, error = message.partition(), message.offset(), message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
            raise KafkaException(error)
        if partition is None or offset is None or offset < self.next.get(partition, offset + 1):
            return False
        self.next[partition] = offset + 1 if error is None else offset
        return error is None

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        # At 0 for now: what comes before `start` is dropped anyway. Never at a logical offset: its
        # look-up, made outdated by `start`, is repeated half a second later and then moves the
        # partition to the end, over events that were not read.
        consumer.incremental_assign(
            [TopicPartition(self._topic, place.partition, 0) for place in places]
        )
        self.waiting.update(place.partition for place in places)
        log.info("assigned: partitions %s", sorted(place.partition for place in places))

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_unassign(places)
        for place in places:
            self.waiting.discard(place.partition)
            self.next.pop(place.partition, None)
        self.losses += 1
        log.info("revoked: partitions %s", sorted(place.partition for place in places))
