"""Runs one version of a read model: polls events from the log and applies them.

Several processes of one group share the partitions. The checkpoint is stored with the data and
moves by compare-and-set, so a process that lost a partition without noticing changes nothing.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from confluent_kafka import Message

from projectors.contract.read_model import Dropped, Position, ReadModel
from projectors.engine.applier import Applier
from projectors.engine.catch_up import CatchUp
from projectors.engine.log_identity import check_position
from projectors.engine.meter import DECODE, READ, WRITE, Meter
from projectors.engine.subscription import Subscription
from projectors.log.records import Record, pack_ahead, read_record
from runtime.memory import collect_rarely
from runtime.process import Backoff, StopSignal, until_available
from runtime.settings import Settings
from schemas.errors import Fenced, Forbidden, Unavailable
from schemas.records import UserEvent

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_RECORDS = 10_000  # larger batches make neither store faster
WAIT_SECONDS = 0.5
# How long a thread that returns from a store waits for the one that decodes. At the default of
# 5 ms, half a dozen times a batch, it took a tenth of the time of both projectors.
_SWITCH_SECONDS = 0.001
# How often it checks whether its version was dropped or its store lost writes. A store may lose
# them in partitions that are written to no more while others are busy.
CHECK_SECONDS = 2.0


class _InterruptedError(Exception):
    """The records in hand are no longer ours, or the process was asked to stop: drop them."""


@dataclass(frozen=True, slots=True)
class _Decoding:
    """A batch being decoded; `reached` is the offset after it in each partition."""

    messages: list[Message]
    reached: dict[int, int]
    records: Future[list[Record]]


class Runner:
    """The loop around one version of a read model; see `run`.

    `catch_up` reports its progress. `decode` raises `Poisoned`, and `Unavailable` if it needs the
    registry and that is down; `write_letters` returns once the letters are stored.
    """

    def __init__(
        self,
        settings: Settings,
        model: ReadModel,
        subscription: Subscription,
        *,
        decode: Callable[[bytes | None], UserEvent],
        write_letters: Callable[[Sequence[Record]], None],
        stopping: StopSignal,
        meter: Meter | None = None,
        is_paused: Callable[[], bool] = lambda: False,
        new_backoff: Callable[[], Backoff] = Backoff,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._model = model
        self._source = model.source
        self._log = subscription
        self._decode = decode
        self._stopping = stopping
        self._meter = meter or Meter()
        self._is_paused = is_paused
        self._new_backoff = new_backoff
        self._applier = Applier(
            model,
            write_letters,
            max_poisoned_in_a_row=settings.dead_letters_in_a_row,
            retry=self._retry_while_unavailable,
        )
        self._restarts = subscription.restarts
        self.catch_up = CatchUp()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self._in_hand: _Decoding | None = None
        self._clock = clock
        self._check_due = clock() + CHECK_SECONDS
        self._ends_if_denied = False

    def run(self) -> None:
        """Apply events until asked to stop, or until the version is dropped.

        Waits for servers that are unavailable. Raises `Misconfigured` if the log is not the one
        that the model was built from, `Fenced` if another process is ahead in our partitions,
        `TooManyPoisoned`.
        """
        try:
            self._run_until(lambda: False)
        except Dropped as dropped:
            log.info("%s", dropped)

    def run_until_caught_up(self, partitions: int, on_step: Callable[[], None]) -> None:
        """Apply all events that so many partitions of ours have now; end early when stopping.

        `on_step` is called before every step. Raises as `run` does, `Dropped`, and `Forbidden`.
        """
        self._ends_if_denied = True

        def done() -> bool:
            on_step()
            return len(self._log.next) == partitions and self.catch_up.caught_up

        self._run_until(done)

    def _run_until(self, done: Callable[[], bool]) -> None:
        name = f"{self._model.name} version {self._model.version}"
        collect_rarely()
        sys.setswitchinterval(_SWITCH_SECONDS)
        try:
            ends = self._ends_if_denied
            until_available(self._stopping, lambda: self._log.look_up(()), ends_if_denied=ends)
            self._log.join()
            log.info("projector %s started", name)
            while not self._stopping and not done():
                self.run_once()
        finally:
            self._close()
            log.info("projector %s stopped", name)

    def run_once(self) -> None:
        """Take one step: apply the previously polled batch while the next one is decoded.

        Waits at most half a second for records, and for servers that are unavailable. Raises as
        `run` does, and `Dropped`.
        """
        try:
            if self._is_paused():
                self._wait_until_resumed()
                return
            if self._log.waiting:
                self._retry_while_unavailable(self._start_waiting)
            wait_seconds = 0.0 if self._in_hand else WAIT_SECONDS
            messages = self._retry_while_unavailable(
                lambda: self._meter.timed(READ, lambda: self._log.poll(BATCH_RECORDS, wait_seconds))
            )
            if self._log.restarts != self._restarts:
                self._restart()
                return
            decoded, self._in_hand = self._in_hand, self._decode_ahead(messages)
            if decoded:
                self._apply(decoded)
            elif not messages:
                self._on_idle()
            self._check_store()
            caught_up = self.catch_up.caught_up
            self._meter.stepped(self._log, self._applier.positions, caught_up=caught_up)
        except _InterruptedError:
            self._restart()
        except Dropped:
            raise
        except Fenced as fenced:
            self._check_fence(fenced)

    def _wait_until_resumed(self) -> None:
        """Stay in the group without applying anything; end early when stopping."""
        log.info("%s version %d is paused", self._model.name, self._model.version)
        self._meter.paused()
        self._log.pause_in_group(math.inf, lambda: self._stopping or not self._is_paused())
        if self._log.restarts != self._restarts:
            raise _InterruptedError
        log.info("%s version %d is no longer paused", self._model.name, self._model.version)

    def _decode_ahead(self, messages: list[Message]) -> _Decoding | None:
        """Decode in another thread while the previous batch is written."""
        if not messages:
            return None
        decode = partial(self._meter.timed, DECODE, partial(self._read, messages))
        return _Decoding(messages, dict(self._log.next), self._decoder.submit(decode))

    def _read(self, messages: list[Message]) -> list[Record]:
        partitions = self._settings.partitions
        records = [
            read_record(message, self._source, self._decode, partitions) for message in messages
        ]
        pack_ahead(records, self._model)
        return records

    def _apply(self, batch: _Decoding) -> None:
        try:
            records = batch.records.result()
        except (Unavailable, Forbidden):  # a new schema, and the registry does not answer
            records = self._retry_while_unavailable(lambda: self._read(batch.messages))
        self._meter.timed(WRITE, lambda: self._applier.apply(records))
        self._meter.applied(records)
        self.catch_up.applied(len(records), batch.reached)
        self._log.commit(batch.reached)

    def _on_idle(self) -> None:
        self._applier.flush()
        self.catch_up.applied(0, self._log.next)
        self._log.commit(self._log.next)

    def _check_store(self) -> None:
        """Raise `Fenced` if a checkpoint is not where this process moved it, `Dropped`."""
        if self._clock() < self._check_due or not self._log.next:
            return
        stored = self._retry_while_unavailable(self._model.checkpoint)
        if any(stored.get(p) != position for p, position in self._applier.positions.items()):
            raise Fenced("another process moved the checkpoint")
        self._check_due = self._clock() + CHECK_SECONDS

    def _restart(self) -> None:
        """Drop the records in hand and start again at the checkpoint."""
        self._in_hand = None
        self.catch_up.forget()
        self._applier.drop(self._applier.positions)
        self._log.restart()
        self._restarts = self._log.restarts

    def _start_waiting(self) -> None:
        """Start assigned partitions at the checkpoint, or at the log's beginning without one."""
        waiting = set(self._log.waiting)
        stored = self._model.checkpoint()
        topic_id, ranges = self._log.look_up(waiting)
        topic = self._settings.named(self._source.topic.name)
        starts = {}
        for partition in sorted(waiting):
            position, there = stored.get(partition), ranges[partition]
            if position is not None:
                check_position(
                    self._model, topic, partition, position, topic_id=topic_id, there=there
                )
            starts[partition] = position.next_offset if position else there.low
            self.catch_up.begin(partition, starts[partition], there.end)
        self._applier.begin(topic_id, {partition: stored.get(partition) for partition in waiting})
        self._log.start(starts)

    def _check_fence(self, fenced: Fenced) -> None:
        """Start again if the store lost writes; raise if another process is ahead of us.

        A store that crashed may lose its latest writes, data and checkpoint together.
        """
        positions = dict(self._applier.positions)
        stored = self._retry_while_unavailable(self._model.checkpoint)
        if any(p in stored and _ahead(stored[p], position) for p, position in positions.items()):
            raise fenced
        log.warning("%s; starting again at the checkpoint", fenced)
        self._restart()

    def _retry_while_unavailable(self, step: Callable[[], T]) -> T:
        """Return what `step` returns; retry while a server is unavailable or denies access.

        It stays in the group meanwhile. Raises `_InterruptedError` when asked to stop or paused, or
        when partitions were revoked meanwhile.
        """
        backoff = self._new_backoff()
        while True:
            try:
                found = step()
            except (Unavailable, Forbidden) as error:
                if self._ends_if_denied and isinstance(error, Forbidden):
                    raise
                self._meter.waits(error)
                seconds = backoff.after(error)
                log.warning("%s; trying again in %.1f s", error, seconds)
                self._log.pause_in_group(seconds, lambda: self._stopping or self._is_paused())
            else:
                self._meter.goes_on()
                return found
            if self._stopping or self._is_paused() or self._log.restarts != self._restarts:
                raise _InterruptedError

    def _close(self) -> None:
        self._decoder.shutdown(cancel_futures=True)
        self._log.close()
        self._model.close()


def _ahead(stored: Position, position: Position | None) -> bool:
    return position is None or (
        stored.topic_id == position.topic_id and stored.next_offset > position.next_offset
    )
