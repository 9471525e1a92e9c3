"""Rebuilds a partition's state from the log before its commands are decided.

Everything is read with `isolation.level=read_committed`, up to the *high* watermark at the start.
While a predecessor's transaction is open, the last stable offset lies below records that may still
be committed; so reading up to the high watermark waits until that transaction has ended, either
way.
"""

import logging
import time
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from producers.domain.encoded_event import EncodedEvent, pack_event
from producers.domain.outcome_window import OutcomeWindow
from producers.domain.state import PartitionState, claim_key
from producers.handler.clients import Clients, Codecs
from producers.handler.partitions.unreadable import UnreadableRecords
from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, assign, poll_batch
from runtime.settings import Settings
from runtime.topics.log_ranges import is_end
from schemas.coding.projection import Projection
from schemas.errors import Misconfigured, Poisoned, Unavailable
from schemas.formats import LATEST_FORMAT, UNFINISHED_RESTORE, mark_key
from schemas.positions import POSITION_KEY, Position, decode_position
from schemas.topics import EMAILS, EVENTS, OUTCOMES
from schemas.trust import check_event, is_claim_key

log = logging.getLogger(__name__)

# What is read, in this order.
RESTORED: Final = (EVENTS, EMAILS, OUTCOMES)
# What a step holds is allocated between what the state keeps: with more, the memory stays in use.
_STEP_MESSAGES = 500
_STEP_SECONDS = 0.1
_REPORT_SECONDS = 1.0
# A lone command leaves two offsets in the outcomes: its record and its transaction's marker.
_OFFSETS_PER_OUTCOME = 2
_SPARE_OFFSETS = 1_000
# The clocks of two handlers differ a little.
_SPARE_MS = 60_000
_AT_THE_END = -1
# By default brokers look every ten seconds for transactions that have timed out.
_ABORTED_SECONDS = 15.0


class Restore:
    """The restore of one partition, in steps short enough that the others keep deciding.

    `ends` maps (topic, partition) to an offset up to which the log must be read; the default is the
    high watermark. Call `step` until it returns the finished `PartitionState`, and `close` in any
    case. `recorded` is then the latest position on the log, None on one that no release with
    positions has written.
    """

    def __init__(
        self,
        settings: Settings,
        partition: int,
        codecs: Codecs,
        clients: Clients,
        ends: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self._settings = settings
        self._partition = partition
        self._codecs = codecs
        self._place = partition, settings.partitions
        self._mark_key = mark_key(*self._place).encode()
        self._events_topic = settings.named(EVENTS.name)
        self._outcomes_topic = settings.named(OUTCOMES.name)
        self._claims_topic = settings.named(EMAILS.name)
        self._state = PartitionState(
            partition,
            settings.partitions,
            OutcomeWindow(
                settings.outcomes_window_count, int(settings.outcomes_window_seconds * 1000)
            ),
        )
        self._unreadable = UnreadableRecords(partition, settings.partitions, self._claims_topic)
        self.recorded: Position | None = None
        self._is_unfinished = False
        self._events = codecs.events[LATEST_FORMAT]
        self._ordinary_events = Projection(self._events, EncodedEvent.__annotations__)
        self._started = time.monotonic()
        self._last_report_at = self._last_message_at = self._started
        self._records = 0
        self._unfolded: deque[Message] = deque()
        positions, self._unreached_ends = self._range(clients, ends or {})
        self._starts, self._ends = positions, dict(self._unreached_ends)
        self._consumer = clients.committed_reader()
        assign(self._consumer, positions)

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._started

    def progress(self) -> tuple[int, int]:
        """Return how many offsets it has passed, of how many."""
        places = [TopicPartition(one.topic, one.partition) for one in self._starts]
        at = {one.topic: one.offset for one in self._consumer.position(places)}
        passed = sum(max(0, at[one.topic] - one.offset) for one in self._starts)
        return passed, sum(self._ends[one.topic] - one.offset for one in self._starts)

    def _range(
        self, clients: Clients, confirmed: Mapping[tuple[str, int], int]
    ) -> tuple[list[TopicPartition], dict[str, int]]:
        """Return where to begin in each topic that is not empty, and by topic the end to reach."""
        positions, ends = [], {}
        with closing(clients.uncommitted_reader()) as reader:
            for topic in map(self._settings.named, (topic.name for topic in RESTORED)):
                low, end = reader.get_watermark_offsets(
                    TopicPartition(topic, self._partition), timeout=REQUEST_TIMEOUT_SECONDS
                )
                end = confirmed.get((topic, self._partition), end)
                if low < end:
                    start = (
                        self._first_outcome(reader, low, end)
                        if topic == self._outcomes_topic
                        else low
                    )
                    positions.append(TopicPartition(topic, self._partition, start))
                    ends[topic] = end
        return positions, ends

    def _first_outcome(self, reader: Consumer, low: int, end: int) -> int:
        """Return an offset at or before the first outcome that the window must contain."""
        most = _OFFSETS_PER_OUTCOME * self._settings.outcomes_window_count
        start = max(low, end - most - _SPARE_OFFSETS)
        if start == low:
            return low  # to ask for times would take a tenth of a second, behind a fetch that waits
        last_ms = self._time_of_last(reader, max(low, end - _SPARE_OFFSETS))
        if last_ms is None:
            return low
        since_ms = last_ms - int(self._settings.outcomes_window_seconds * 1000) - _SPARE_MS
        asked = TopicPartition(self._outcomes_topic, self._partition, max(since_ms, 0))
        [found] = reader.offsets_for_times([asked], timeout=REQUEST_TIMEOUT_SECONDS)
        if found.error is not None:
            raise KafkaException(found.error)
        return start if found.offset == _AT_THE_END else max(low, min(start, found.offset))

    def _time_of_last(self, reader: Consumer, start: int) -> int | None:
        """Return the time of the first outcome from `start`, which is near the end.

        None if there are only markers of transactions. The log's own times count, not this
        machine's clock: the log may have been idle, and the clocks may differ.
        """
        assign(reader, [TopicPartition(self._outcomes_topic, self._partition, start)])
        deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
        message = None
        while message is None and time.monotonic() < deadline:
            message = reader.poll(_STEP_SECONDS)
            if message is not None and is_end(message):
                return None
        return None if message is None else message.timestamp()[1]

    def step(self) -> PartitionState | None:
        """Read for at most about a tenth of a second; return the state once it is complete.

        Raises `Misconfigured` if our own log cannot be read (deciding without it could give an
        address to two users) or a later release has raised its format, KafkaException if the
        broker fails.
        """
        if self._unreached_ends:
            self._read()
            self._report()
        if self._unreached_ends:
            return None
        self._require_finished()
        self._unreadable.check()
        self._state.finish_restore()
        log.info(
            "restored partition %d: %d users, %d records in %.1f s",
            self._partition,
            len(self._state.users),
            self._records,
            time.monotonic() - self._started,
            extra={"partition": self._partition},
        )
        return self._state

    def _read(self) -> None:
        """Fold what has arrived; a record whose schema cannot be fetched yet waits."""
        if not self._unfolded:
            self._unfolded.extend(poll_batch(self._consumer, _STEP_MESSAGES, _STEP_SECONDS))
            if self._unfolded:
                self._last_message_at = time.monotonic()
        while self._unfolded:
            try:
                self._fold(self._unfolded[0])
            except Unavailable:
                time.sleep(_STEP_SECONDS)
                return
            self._unfolded.popleft()

    def _fold(self, message: Message) -> None:
        topic, offset = message.topic() or "", message.offset() or 0
        if not is_end(message):
            self._records += 1
            key = message.key()
            try:
                self._fold_record(topic, key, message.value())
            except Poisoned as poisoned:
                self._unreadable.add(topic, key, offset, poisoned)
            else:
                if self._unreadable:
                    self._unreadable.replaced(topic, key)
            offset += 1
        if offset >= self._unreached_ends.get(topic, 0):
            self._unreached_ends.pop(topic, None)

    def _fold_record(self, topic: str, key: bytes | None, value: Any) -> None:
        if topic == self._events_topic:
            if key == self._mark_key:
                self._fold_mark(value)
                return
            fields = self._ordinary_events.decode(value)
            packed = None if fields is None else pack_event(fields, key, *self._place)
            if packed is not None:
                self._state.restore_packed(packed)
            else:
                event = self._events.decode_whole(value)
                check_event(event, key, *self._place)
                self._state.restore_event(event)
        elif topic == self._outcomes_topic:
            self._state.restore_outcome(self._codecs.outcomes.decode(value))
        elif key == POSITION_KEY:
            self.recorded = decode_position(value)
        else:
            self._fold_claim(key, value)

    def _fold_mark(self, value: Any) -> None:
        """Note the partition's format. Raises `Misconfigured` if this release does not know it."""
        mark = self._codecs.marks.decode(value)
        if mark["format"] > LATEST_FORMAT:
            raise Misconfigured(
                f"cannot restore: partition {self._partition} is written in format "
                f"{mark['format']}, and this release knows formats up to {LATEST_FORMAT}",
                code="newer_log",
                next_step="run the release that raised the format, or a later one "
                "(docs/upgrading.md)",
            )
        self._is_unfinished = mark["format"] == UNFINISHED_RESTORE
        self._state.restore_mark(mark)

    def _require_finished(self) -> None:
        """Raise `Misconfigured` if the latest mark says that a backup is still being restored."""
        if self._is_unfinished:
            raise Misconfigured(
                f"partition {self._partition} is being restored from a backup",
                code="unfinished_restore",
                next_step="wait for `rollbook restore`, or run it again if it was interrupted",
            )

    def _fold_claim(self, key: bytes | None, value: Any) -> None:
        """Fold a claim, or its release. Raises `Poisoned` if no handler can have written it."""
        claim_id = (key or b"").decode("utf-8", "replace")
        claim = None if value is None else self._codecs.claims.decode_whole(value)
        if claim is not None:
            if not is_claim_key(key) or claim_key(claim) != claim_id:
                raise Poisoned("a claim's key is not its user's id and offset", code="wrong_key")
            if not self._state.is_home_of(claim["email_key"]):
                raise Poisoned("a claim is not in its address's partition", code="wrong_partition")
        self._state.restore_claim(claim_id, claim)

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._last_report_at <= _REPORT_SECONDS:
            return
        self._last_report_at = now
        log.info(
            "restoring partition %d: %d records, %d/s",
            self._partition,
            self._records,
            self._records / (now - self._started),
            extra={"partition": self._partition},
        )
        silent_seconds = now - self._last_message_at
        if silent_seconds > self._settings.transaction_timeout_seconds + _ABORTED_SECONDS:
            log.error(
                "restoring partition %d: no new message of %s for %.0f s: Kafka is unavailable, or "
                "has left a transaction open that it should have ended (docs/decisions/0011)",
                self._partition,
                ", ".join(sorted(self._unreached_ends)),
                silent_seconds,
                extra={"partition": self._partition},
            )

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()
