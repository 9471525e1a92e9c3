"""Rebuilds the state of partitions from the log before their commands are decided.

Everything is read read_committed up to the *high* watermark taken before: while a predecessor's
transaction is open the last stable offset lies below records that may yet be committed, so reading
to the watermark waits for that transaction to end, one way or the other.
"""

import logging
import time
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from producers.domain.state import OutcomeWindow, PartitionState
from runtime.kafka import REQUEST_TIMEOUT_SECONDS, assign, end_reader, lone_consumer, poll_batch
from runtime.log_ranges import is_end
from runtime.settings import Settings
from schemas.codec import RecordCodec
from schemas.errors import Misconfigured, Poisoned, Rejected
from schemas.identity import parse_user_id, partition_of, user_shard
from schemas.records import CommandOutcome, EmailClaim, UserEvent
from schemas.topics import EMAILS, EVENTS, OUTCOMES
from schemas.trust import check_event

log = logging.getLogger(__name__)

_STEP_MESSAGES = 10_000
_STEP_SECONDS = 0.1
# A lone command leaves two offsets in the outcomes: its record and its transaction's marker.
_OFFSETS_PER_OUTCOME = 2
_SPARE_OFFSETS = 1_000
# Brokers look every ten seconds, by default, for transactions that are over their time.
_ABORTED_SECONDS = 15.0


class Restore:
    """The restore of one partition, in steps that leave the caller's loop room for the others.

    `step` until it returns the finished `PartitionState`; `close` when it is not wanted any more.
    """

    def __init__(
        self,
        settings: Settings,
        partition: int,
        events: RecordCodec[UserEvent],
        outcomes: RecordCodec[CommandOutcome],
        claims: RecordCodec[EmailClaim],
    ) -> None:
        self._partition = partition
        self._events = events
        self._outcomes = outcomes
        self._claims = claims
        self._events_topic = settings.named(EVENTS.name)
        self._outcomes_topic = settings.named(OUTCOMES.name)
        self._claims_topic = settings.named(EMAILS.name)
        self._settings = settings
        self._state = PartitionState(
            partition,
            settings.partitions,
            OutcomeWindow(
                settings.outcomes_window_count, int(settings.outcomes_window_seconds * 1000)
            ),
        )
        self._started = time.monotonic()
        self._told = self._heard = self._started
        self._read = 0
        self._consumer = end_reader(settings)
        self._ends = self._assign(self._consumer)

    def _assign(self, consumer: Consumer) -> dict[str, int]:
        """Assign the topics from where each must be read; return the ends still to reach."""
        positions, ends = [], {}
        with closing(
            lone_consumer(self._settings, **{"isolation.level": "read_uncommitted"})
        ) as asker:
            for topic, start in (
                (self._events_topic, self._first_of_all),
                (self._claims_topic, self._first_of_all),
                (self._outcomes_topic, self._first_outcome),
            ):
                # Only read_uncommitted is told the high watermark; others the last stable offset.
                low, end = asker.get_watermark_offsets(
                    TopicPartition(topic, self._partition), timeout=REQUEST_TIMEOUT_SECONDS
                )
                if low < end:
                    positions.append(TopicPartition(topic, self._partition, start(low, end)))
                    ends[topic] = end
        assign(consumer, positions)
        return ends

    def _first_of_all(self, low: int, _end: int) -> int:
        return low

    def _first_outcome(self, low: int, end: int) -> int:
        most = _OFFSETS_PER_OUTCOME * self._settings.outcomes_window_count
        return max(low, end - most - _SPARE_OFFSETS)

    def step(self) -> PartitionState | None:
        """Read on for at most about a tenth of a second; return the state once it is complete.

        Raises `Misconfigured` if our own log cannot be read (deciding without it could give an
        address to two users), KafkaException if the broker fails.
        """
        if self._ends:
            messages = poll_batch(self._consumer, _STEP_MESSAGES, _STEP_SECONDS)
            if messages:
                self._heard = time.monotonic()
            for message in messages:
                self._fold(message)
            self._tell()
        if self._ends:
            return None
        self._state.finish_restore()
        log.info(
            "restored partition %d: %d users, %d records in %.1f s",
            self._partition,
            len(self._state.users),
            self._read,
            time.monotonic() - self._started,
        )
        return self._state

    def _fold(self, message: Message) -> None:
        topic, offset = message.topic() or "", message.offset() or 0
        if not is_end(message):
            self._read += 1
            try:
                self._fold_record(topic, message.key(), message.value())
            except Poisoned as poisoned:
                self._skip_foreign(topic, message.key(), offset, poisoned)
            offset += 1
        if offset >= self._ends.get(topic, 0):
            self._ends.pop(topic, None)

    def _fold_record(self, topic: str, key: bytes | None, value: Any) -> None:
        if topic == self._events_topic:
            event = self._events.decode(value)
            check_event(event, key, self._partition, self._settings.partitions)
            self._state.restore_event(event)
        elif topic == self._outcomes_topic:
            self._state.restore_outcome(self._outcomes.decode(value))
        else:
            claim_id = (key or b"").decode("utf-8", "replace")
            claim = None if value is None else self._claims.decode(value)
            self._state.restore_claim(claim_id, claim)

    def _skip_foreign(self, topic: str, key: bytes | None, offset: int, poisoned: Poisoned) -> None:
        """Pass over bytes that no handler wrote; stop if it may be the registry that is wrong.

        A record under the id of a user of this partition, with a schema id that the registry
        answers with nothing or with another record's schema, may well be ours: deciding without it
        could give one address to two users.
        """
        where = f"{topic} partition {self._partition} offset {offset}"
        if poisoned.code in {"unknown_schema", "wrong_schema"} and self._is_user(key):
            raise Misconfigured(
                f"cannot restore: {where}: {poisoned}",
                code="unreadable_log",
                next_step="restore the registry's storage: ids on the log must keep their meaning",
            ) from poisoned
        log.warning("passing over a foreign record: %s: %s", where, poisoned)

    def _is_user(self, key: bytes | None) -> bool:
        """Return whether `key` is the id of a user who lives in this partition."""
        try:
            shard = user_shard(parse_user_id((key or b"").decode("ascii")))
        except (UnicodeDecodeError, Rejected):
            return False
        return partition_of(shard, self._settings.partitions) == self._partition

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told > 1:
            self._told = now
            rate = self._read / (now - self._started)
            log.info("restoring partition %d: %d records, %d/s", self._partition, self._read, rate)
            if now - self._heard > self._settings.transaction_timeout_seconds + _ABORTED_SECONDS:
                log.error(
                    "restoring partition %d: nothing new of %s for %.0f s: Kafka is away, or left "
                    "a transaction open that it should have ended (docs/decisions/0011)",
                    self._partition,
                    ", ".join(sorted(self._ends)),
                    now - self._heard,
                )

    def close(self) -> None:
        """Let go of the consumer."""
        self._consumer.close()
