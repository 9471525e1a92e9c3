"""Delivers the records of assigned partitions, in order and no others.

Batches of librdkafka may contain records from before a seek or a rebalance (confluent-kafka-python
#1013, #1443). So every record is checked and dropped if its partition is not assigned or not
started, or if it is below the expected offset.

A newly assigned partition is read only after `start` gives its offset: looking the offset up may
fail or block, which a rebalance callback must not.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from runtime.kafka import client_classes
from runtime.kafka.clients import (
    consumer_config,
    kafka_available,
    kafka_failure,
    login_warning,
    poll_batch,
)
from runtime.metrics.kafka_statistics import statistics_config
from runtime.settings import Settings
from runtime.topics.admin import check_topics
from runtime.topics.log_ranges import LogRange, log_ranges
from schemas.topics import Topic

log = logging.getLogger(__name__)

COMMIT_EVERY_SECONDS = 1.0
RECOMMIT_EVERY_SECONDS = 60.0
_POLL_SECONDS = 0.2
# A paused consumer returns no more than what it had fetched, usually nothing at all.
MOST_EARLY = 20_000

# Returns Kafka's id of the topic and the range of each of these partitions.
LookUp: TypeAlias = Callable[[Collection[int]], tuple[str, dict[int, LogRange]]]


def group_of(read_model: str, version: int) -> str:
    """Return the consumer group of a version, without the prefix."""
    return f"rollbook-projector-{read_model}-{version}"


class Subscription:
    """The partitions of a member of a consumer group, or a given share. Not for several threads.

    `waiting` are assigned partitions for which `start` was not called yet; `next` maps the others
    to the offset expected next. `restarts` grows whenever partitions were revoked or have to start
    again: records polled before may then belong to another process.

    With a `share` it reads these partitions without joining the group, so it need not wait for an
    assignment. Offsets are committed for the group in both cases.

    `consumer` must report the ends of partitions, and leave offsets and assignments to this class.
    `look_up` raises `Unavailable`, and `Misconfigured` if the topic is missing.
    """

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        consumer: Consumer,
        look_up: LookUp,
        group: str = "",
        *,
        share: Collection[int] | None = None,
    ) -> None:
        self._settings = settings
        self._group = settings.named(group)
        self._share = share
        self._topic = settings.named(topic.name)
        self._consumer = consumer
        self.look_up = look_up
        self.waiting: set[int] = set()
        self.next: dict[int, int] = {}
        self.restarts = 0
        self._early: list[KafkaMessage] = []
        self._reached: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._commit_due = self._recommit_due = 0.0

    def join(self) -> None:
        """Join the group, or take the share."""
        with kafka_available(self._settings):
            if self._share is not None:
                own = [TopicPartition(self._topic, partition) for partition in self._share]
                self._on_assign(self._consumer, own)
                return
            self._consumer.subscribe(
                [self._topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_revoke,
            )

    def start(self, offsets: Mapping[int, int]) -> None:
        """Start reading assigned partitions at these offsets."""
        places = [TopicPartition(self._topic, p, offset) for p, offset in offsets.items()]
        if not places:
            return
        with kafka_available(self._settings):
            # An earlier attempt that failed may have left some of them unassigned.
            assigned = {place.partition for place in self._consumer.assignment()}
            self._consumer.incremental_unassign([p for p in places if p.partition in assigned])
            self._consumer.incremental_assign(places)
            self._consumer.resume(places)
        self.next.update(offsets)
        self.waiting.difference_update(offsets)

    def restart(self) -> None:
        """Make every assigned partition wait for `start` again."""
        self.waiting.update(self.next)
        self.next.clear()
        self._early.clear()
        self.restarts += 1

    def poll(self, max_records: int, wait_seconds: float) -> list[KafkaMessage]:
        """Return the records that are available, at most `max_records`; block only for the first.

        Raises `Unavailable` after any error; every partition then waits for `start`.
        """
        try:
            early, self._early = self._early, []
            messages = early + poll_batch(self._consumer, max_records, 0 if early else wait_seconds)
            return [message for message in messages if self._is_expected(message)]
        except KafkaException as error:
            # Nothing may be lost: neither the rest of this batch nor a corrupt record that
            # librdkafka skips. So every partition restarts at the read model's checkpoint.
            self.restart()
            is_about_group = error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED
            resource = f"group {self._group}" if is_about_group else f"topic {self._topic}"
            raise kafka_failure(self._settings, error, f"Read on {resource}") from error

    def pause_in_group(self, seconds: float, ended: Callable[[], object]) -> None:
        """Stay in the group for `seconds` without taking records, or until `ended` returns true.

        Records that had been fetched before are kept for `poll`. Should there be more than
        `MOST_EARLY` of them, all partitions have to start again.
        """
        with kafka_available(self._settings):
            self._consumer.pause(self._consumer.assignment())
            try:
                until = time.monotonic() + seconds
                while not ended() and (left := until - time.monotonic()) > 0:
                    message = self._consumer.poll(min(left, _POLL_SECONDS))
                    if message is not None and message.partition() in self.next:
                        self._keep(message)
            finally:
                self._consumer.resume(
                    [one for one in self._consumer.assignment() if one.partition in self.next]
                )

    def commit(self, reached: Mapping[int, int]) -> None:
        """Commit the group's offsets for lag tools; at most once a second, never blocking.

        None of our code reads them: the checkpoint is stored with the data. Once a minute they are
        committed even if they are the same: an earlier commit may have failed.
        """
        self._reached = dict(reached)
        now = time.monotonic()
        has_moved = self._reached != self._committed
        if self._reached and now >= (self._commit_due if has_moved else self._recommit_due):
            self._commit_due = now + COMMIT_EVERY_SECONDS
            self._recommit_due = now + RECOMMIT_EVERY_SECONDS
            self._commit(asynchronous=True)

    def close(self) -> None:
        """Commit what was reached, and leave the group if it was joined."""
        if self._reached != self._committed:
            self._commit(asynchronous=False)
        self._consumer.close()

    def _keep(self, message: KafkaMessage) -> None:
        if len(self._early) >= MOST_EARLY:
            log.warning("more than %d records arrived during a pause", MOST_EARLY)
            self.restart()
        else:
            self._early.append(message)

    def _commit(self, *, asynchronous: bool) -> None:
        self._committed = self._reached
        offsets = [TopicPartition(self._topic, p, offset) for p, offset in self._reached.items()]
        try:
            # One call for both, which the client's type stubs do not allow.
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
        # At 0 for now: records before `start` are dropped anyway. Never at a logical offset:
        # librdkafka would look that up again half a second after `start` and then move the
        # partition to its end, past unread events.
        # Paused until `start`: while the read model's store is unavailable, that may take hours.
        assigned = [TopicPartition(self._topic, place.partition, 0) for place in places]
        consumer.incremental_assign(assigned)
        consumer.pause(assigned)
        self.waiting.update(place.partition for place in places)
        log.info("assigned: partitions %s", sorted(place.partition for place in places))

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_unassign(places)
        for place in places:
            self.waiting.discard(place.partition)
            self.next.pop(place.partition, None)
        self.restarts += 1
        log.info("revoked: partitions %s", sorted(place.partition for place in places))


def subscribe(
    settings: Settings, topic: Topic, group: str, share: Collection[int] | None = None
) -> Subscription:
    """Return a subscription to `topic` in a group, or to a `share` of its partitions.

    It connects in `join`. Offsets are committed for the group in both cases.
    """
    consumer = client_classes.Consumer(
        consumer_config(settings, settings.named(group))
        | statistics_config(settings, group.removeprefix("rollbook-"))
        | {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": int(settings.session_timeout_seconds * 1000),
            "heartbeat.interval.ms": int(settings.session_timeout_seconds * 1000 / 3),
            "error_cb": login_warning(settings),
            # Reports the end, past the markers that end a transaction.
            "enable.partition.eof": True,
        }
    )

    def look_up(partitions: Collection[int]) -> tuple[str, dict[int, LogRange]]:
        return check_topics(settings)[topic.name], log_ranges(settings, topic, partitions)

    return Subscription(settings, topic, consumer, look_up, group, share=share)
