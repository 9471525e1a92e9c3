"""The command handler: one writer per partition, deciding each command exactly once.

Input offsets, events, history and outcomes are committed in one Kafka transaction (KIP-98), fenced
by the group's generation (KIP-447): a process that lost a partition cannot commit for it.
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import KafkaException

from producers.handler.batch import Batch, Records
from producers.handler.clients import Codecs
from producers.handler.metrics.meter import TRANSACTIONS, Meter
from producers.handler.open_segments import SegmentRoller
from producers.handler.partitions.ownership import Ownership
from producers.handler.transaction import IndefiniteError, Transactions
from runtime.process import Backoff, StopSignal
from runtime.settings import Settings
from schemas.errors import Forbidden, Unavailable

log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.2
_LEAST_COMMANDS = 100
_REPORTED_LEAD_MS = 60_000
_LEAD_REPORT_SECONDS = 60.0
# Brokers keep offsets for a week by default, and at least for a minute. A change of address also
# looks like a lag until the marker of its transaction is passed.
_RECOMMIT_SECONDS = 15.0
_ROLL_MS = 1_000
_ROLL_AGAIN_MS = 30_000


class CommandHandler:
    """Decides the commands of the partitions that the group assigns to `ownership`.

    `ownership` and `transactions` must have the same stable identity (static membership, KIP-345,
    and transactional id): a handler that restarts with it fences its previous process and gets its
    partitions back at once.
    """

    def __init__(
        self,
        settings: Settings,
        codecs: Codecs,
        *,
        ownership: Ownership,
        transactions: Transactions,
        roller: SegmentRoller,
        check_topics: Callable[[], None],
        meter: Meter,
        explain: Callable[[KafkaException], Unavailable | Forbidden],
        stop: StopSignal,
        new_batch: Callable[..., Batch] = Batch,
    ) -> None:
        self._settings = settings
        self._codecs = codecs
        self._ownership = ownership
        self._transactions = transactions
        self._roller = roller
        self._rolled_at_ms, self._roll_pause_ms = 0, _ROLL_MS
        self._check_topics = check_topics
        self._meter = meter
        self._explain = explain
        self._stop = stop
        self._new_batch = new_batch
        self._backoff = Backoff()
        self._reports_lead_from = 0.0
        self.recommit_seconds = _RECOMMIT_SECONDS
        self._size = BatchSize(settings.batch_commands, settings.batch_seconds)

    def run(self) -> None:
        """Decide until asked to stop.

        Raises `Fenced` or `Misconfigured` when it must not continue. While Kafka is unavailable it
        waits and keeps its place in the log.
        """
        try:
            while not self._stop:
                self._check_topics()
                self.run_once()
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading; what was not committed is decided again by the partitions' next owner."""
        self._ownership.close()

    def run_once(self) -> int:
        """Restore a little, then decide one batch; return how many messages were committed.

        1. Take what has arrived. 2. Take the group's metadata: a later one may already belong to a
        newer generation. 3. Decide on overlays. 4. Commit. 5. Fold the overlays in.
        """
        self._meter.refresh(self._ownership.phases, self._roller)
        restoring = self._ownership.restore_step()
        messages = self._ownership.poll_batch(
            self._size.most, self._settings.batch_bytes, 0.0 if restoring else _IDLE_SECONDS
        )
        membership = self._ownership.membership()
        if membership is None:
            return 0  # the group has dropped us: these messages are for another process to decide
        self._meter.is_member()
        began = time.monotonic()
        batch = self._new_batch(
            self._ownership.ready(),
            self._settings,
            self._codecs,
            _now_ms(),
            tallies=self._meter.tallies,
        )
        batch.resend_open_grants()
        for message in messages:
            batch.decide(message)
        self._report_lead(batch.lead_ms())
        decided = time.monotonic()
        if batch and not self._commit(batch, membership):
            self._size.failed(batch.decided)
            return 0
        self._ownership.rewind(*batch.deferred)
        if batch:
            committed = time.monotonic()
            self._size.committed(batch.decided, committed - began)
            self._meter.committed(
                batch, messages, decided_in=decided - began, committed_in=committed - decided
            )
        elif batch.deferred:
            self._stop.wait(_IDLE_SECONDS)
        self._recommit(membership)
        self._roll_segments()
        self._ownership.leave_if_unassigned()
        return batch.decided

    def _commit(self, batch: Batch, membership: Any) -> bool:
        """Commit `batch` and fold it in; return False if it was dropped and must be decided again.

        Raises `Fenced` if another process took over this identity.
        """
        try:
            self._commit_or_abort(batch, membership)
        except KafkaException as error:
            failure = self._explain(error)
            log.warning("transaction aborted, deciding again: %s", failure)
            batch.drop(failure.code)
            self._ownership.rewind(*batch.next_offsets, *batch.deferred)
            self._pause_after(failure)
            return False
        except IndefiniteError:
            log.warning("it is unknown whether a transaction was committed: restoring from the log")
            batch.drop("unknown")
            self._transactions.recreate_producer()
            self._ownership.restore_all()
            return False
        recorded = batch.recorded
        batch.fold()
        self._ownership.committed(batch.next_offsets, recorded)
        self._resume()
        return True

    def _recommit(self, membership: Any) -> None:
        """Commit the offsets of idle partitions again, before the broker lets them expire.

        It decides nothing, so an attempt that fails or may have failed is simply repeated.
        """
        try:
            idle = self._ownership.idle(self.recommit_seconds)
            if not idle:
                return
            batch = Batch(self._ownership.ready(), self._settings, self._codecs, _now_ms())
            for number, next_offsets in idle.items():
                batch.confirm(number, next_offsets)
            self._commit_or_abort(batch, membership)
        except (KafkaException, Forbidden) as error:
            failure = error if isinstance(error, Forbidden) else self._explain(error)
            log.warning("offsets not committed again: %s", failure)
            self._pause_after(failure)
        except IndefiniteError:
            self._transactions.recreate_producer()
        else:
            self._resume()
            self._ownership.committed(batch.next_offsets, batch.recorded)

    def _resume(self) -> None:
        """Note that a transaction was committed."""
        self._backoff.reset()
        self._meter.works(TRANSACTIONS)

    def _pause_after(self, failure: Unavailable | Forbidden) -> None:
        """Wait before the next transaction; after a denial, with another producer.

        If librdkafka aborts before the answer to an earlier request has arrived, the transaction
        stays open on the broker, which later aborts it and fences the producer.
        """
        self._meter.lacks(failure, TRANSACTIONS)
        self._stop.wait(self._backoff.after(failure))
        if isinstance(failure, Forbidden):
            self._transactions.recreate_producer()

    def _commit_or_abort(self, batch: Batch, membership: Any) -> None:
        """Commit `batch`, or abort it and raise the KafkaException that prevented it."""
        began_ms, places = _now_ms(), set()
        note = self._roller.attempted

        def records() -> Iterator[Records]:
            for topic, number, messages in batch.records():
                places.add((topic, number))
                yield topic, number, messages

        try:
            with self._meter.transaction():
                try:
                    self._transactions.commit(records(), batch.offsets(), membership)
                except KafkaException as error:
                    self._transactions.abort(error)
                    raise
            note = self._roller.written
        finally:
            note(places, began_ms, _now_ms())

    def _report_lead(self, lead_ms: int) -> None:
        """Report, once a minute, that events are stamped with a time in the future."""
        if lead_ms < _REPORTED_LEAD_MS or time.monotonic() < self._reports_lead_from:
            return
        self._reports_lead_from = time.monotonic() + _LEAD_REPORT_SECONDS
        log.error(
            "events are stamped %.0f s ahead of this machine's clock: a handler's clock was ahead. "
            "If this clock is right, set clock_lead_seconds to return to it (docs/production.md)",
            lead_ms / 1000,
        )

    def _roll_segments(self) -> None:
        """Append to topics and partitions whose open segment must close in time.

        At most once a second: while partitions are restored, one after the other becomes due. If a
        broker refused, again after 30 s.
        """
        now_ms = _now_ms()
        if abs(now_ms - self._rolled_at_ms) < self._roll_pause_ms:
            return
        self._rolled_at_ms, self._roll_pause_ms = now_ms, _ROLL_MS
        ready = self._ownership.ready()
        self._roller.follow({number: one.state for number, one in ready.items()}, now_ms)
        places = self._roller.due(now_ms)
        if not places:
            return
        try:
            appended = self._transactions.append_aborted(places)
        except IndefiniteError:
            self._transactions.recreate_producer()
            return
        if appended is not None:
            self._roller.rolled(places, now_ms)
            log.info("closed %d segments", len(places))
        else:
            self._roll_pause_ms = _ROLL_AGAIN_MS


class BatchSize:
    """How many messages go into one transaction: one when idle, many under load.

    A large transaction costs less for each command, but answers its first command only with its
    last, and one that took longer than the broker's transaction timeout would never commit. So
    `most` grows and shrinks until a full batch takes about `batch_seconds` to commit; it never
    exceeds `most_commands`, and starts small because the machine's speed is unknown.
    """

    def __init__(self, most_commands: int, batch_seconds: float) -> None:
        self._most_commands = most_commands
        self._batch_seconds = batch_seconds
        self._least_commands = min(_LEAST_COMMANDS, most_commands)
        self.most = self._least_commands

    def committed(self, commands: int, seconds: float) -> None:
        """Adapt to the time of a full batch; a smaller one shows nothing about the limit."""
        if commands < self.most:
            return
        fits = int(commands * self._batch_seconds / max(seconds, 1e-6))
        # At most four times as many at once: most of a small batch's time is its commit.
        least = min(self._least_commands, 4 * self.most)
        self.most = max(min(fits, 4 * self.most, self._most_commands), least)

    def failed(self, commands: int) -> None:
        """Halve the size: a batch that takes too long to commit would fail again, for ever."""
        self.most = max(min(commands, self.most) // 2, 1)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
