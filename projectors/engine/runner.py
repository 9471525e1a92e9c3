"""Runs one version of a read model: takes events from the log and has them applied.

Several processes of one group share the partitions. The checkpoint is with the data and moves by
compare-and-set, so a process that lost a partition without noticing changes nothing.
"""

import gc
import logging
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import Message

from projectors.contract.read_model import Dropped, Position, ReadModel
from projectors.engine.applier import Applier
from projectors.engine.catch_up import CatchUp
from projectors.engine.dead_letter_writer import DeadLetterWriter
from projectors.engine.subscription import Subscription
from projectors.log.records import Record, read_record
from runtime.log_ranges import LogRange, log_ranges
from runtime.process import Backoff, StopSignal, until_available
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.topic_admin import check_topics
from schemas.errors import Fenced, Misconfigured, Unavailable
from schemas.topics import DEAD_LETTERS

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_EVENTS = 10_000  # in one batch: past this neither store gets faster
WAIT_SECONDS = 0.5
# So long a thread that comes back from a store waits for one that decodes. At the default of 5 ms,
# half a dozen times a batch, it took a tenth of the time of either projector.
_SWITCH_SECONDS = 0.001
# An idle projector looks this often whether its version was dropped or its server went back.
IDLE_CHECKS = 4
OTHER_TOPIC = "other_topic"
LOST_LOG = "lost_log"


def group_of(read_model: str, version: int) -> str:
    """Return the consumer group of a version, the prefix not put before it."""
    return f"rollbook-projector-{read_model}-{version}"


class _InterruptedError(Exception):
    """What is in hand is no longer ours, or the process was asked to stop: drop it."""


@dataclass(frozen=True, slots=True)
class _Decoding:
    """A batch on its way: `reached` is the offset after it, of each partition."""

    messages: list[Message]
    reached: dict[int, int]
    records: Future[list[Record]]


class Runner:
    """The loop around one read model; see `run`."""

    def __init__(self, settings: Settings, model: ReadModel, stopping: StopSignal) -> None:
        """Connect to nothing that could be away but the registry: raises `Unavailable`.

        `catch_up` tells how far it has come.
        """
        registry = Registry(settings)
        self._settings = settings
        self._model = model
        self._source = model.source
        self._topic = model.source.topic
        self._stopping = stopping
        self._decode = registry.codec(self._topic.schema).decode
        self._letters = DeadLetterWriter(
            settings,
            registry.codec(DEAD_LETTERS.schema),
            reader=f"projector:{model.name}",
            topic=settings.named(self._topic.name),
        )
        self._applier = Applier(
            model,
            self._letters.write,
            most_poisoned_in_a_row=settings.dead_letters_in_a_row,
            insist=self._insist,
        )
        self._log = Subscription(settings, self._topic, group_of(model.name, model.version))
        self._losses = self._log.losses
        self.catch_up = CatchUp()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self._in_hand: _Decoding | None = None
        self._idle = 0

    def run(self) -> None:
        """Apply events until asked to stop, or until the version is dropped.

        Raises `Misconfigured` if the log is not the one that was read so far, `Fenced` if another
        process is ahead in our partitions, `TooManyPoisoned`. What is away is waited for.
        """
        try:
            self._run_until(lambda: False)
        except Dropped as dropped:
            log.info("%s", dropped)

    def run_until_caught_up(self, on_step: Callable[[], None]) -> None:
        """Apply all events that the log has now, alone in the group; or until asked to stop.

        `on_step` is called after every step. Raises as `run`, and `Dropped`.
        """

        def done() -> bool:
            on_step()
            return len(self._log.next) == self._settings.partitions and self.catch_up.caught_up

        self._run_until(done)

    def _run_until(self, done: Callable[[], bool]) -> None:
        name = f"{self._model.name} version {self._model.version}"
        # A batch makes many objects and no cycles: at the default the collector looks through it
        # again and again, for a quarter of the time of this process.
        gc.set_threshold(100_000, 50, 50)
        sys.setswitchinterval(_SWITCH_SECONDS)
        try:
            until_available(self._stopping, lambda: check_topics(self._settings))
            self._log.open()
            log.info("projector %s started", name)
            while not self._stopping and not done():
                self._run_once()
        finally:
            self._close()
            log.info("projector %s stopped", name)

    def _run_once(self) -> None:
        try:
            if self._log.waiting:
                self._insist(self._start_waiting)
            wait_seconds = 0.0 if self._in_hand else WAIT_SECONDS
            messages = self._insist(lambda: self._log.take(MOST_EVENTS, wait_seconds))
            if self._log.losses != self._losses:
                self._begin_again()
                return
            decoded, self._in_hand = self._in_hand, self._decode_ahead(messages)
            if decoded:
                self._apply(decoded)
            elif not messages:
                self._on_idle()
        except _InterruptedError:
            self._begin_again()
        except Dropped:
            raise
        except Fenced as fenced:
            self._look_again(fenced)

    def _decode_ahead(self, messages: list[Message]) -> _Decoding | None:
        """Decode in another thread while the batch before is written."""
        if not messages:
            return None
        return _Decoding(messages, dict(self._log.next), self._decoder.submit(self._read, messages))

    def _read(self, messages: list[Message]) -> list[Record]:
        partitions = self._settings.partitions
        return [
            read_record(message, self._source, self._decode, partitions) for message in messages
        ]

    def _apply(self, batch: _Decoding) -> None:
        try:
            records = batch.records.result()
        except Unavailable:  # a new schema, and no registry to ask
            records = self._insist(lambda: self._read(batch.messages))
        self._idle = 0
        self._applier.apply(records)
        self.catch_up.applied(len(records), batch.reached)
        self._log.commit(batch.reached)

    def _on_idle(self) -> None:
        self._applier.settle()
        self.catch_up.applied(0, self._log.next)
        self._log.commit(self._log.next)
        self._idle += 1
        if self._idle % IDLE_CHECKS == 0 and self._log.next:
            found = self._insist(self._model.checkpoint)
            if any(found.get(p) != held for p, held in self._applier.positions.items()):
                raise Fenced("the checkpoint was moved by somebody else")

    def _begin_again(self) -> None:
        """Drop what is in hand and begin where the read model is: a partition may have gone."""
        self._in_hand = None
        self.catch_up.forget()
        self._applier.drop(self._applier.positions)
        self._log.restart()
        self._losses = self._log.losses

    def _start_waiting(self) -> None:
        """Start partitions at the read model's checkpoint, or at the log's beginning."""
        waiting = set(self._log.waiting)
        topic_id = check_topics(self._settings)[self._topic.name]
        found = self._model.checkpoint()
        ranges = log_ranges(self._settings, self._topic, waiting)
        starts = {}
        for partition in sorted(waiting):
            position, there = found.get(partition), ranges[partition]
            self._refuse_other_log(partition, position, topic_id, there)
            starts[partition] = position.next_offset if position else there.low
            self.catch_up.begin(partition, starts[partition], there.end)
        self._applier.begin(topic_id, {partition: found.get(partition) for partition in waiting})
        self._log.start(starts)

    def _refuse_other_log(
        self, partition: int, position: Position | None, topic_id: str, there: LogRange
    ) -> None:
        if position is None:
            return
        topic = self._settings.named(self._topic.name)
        next_step = f"`rollbook projector rebuild {self._model.name}` reads the log that is there"
        if position.topic_id != topic_id:
            raise Misconfigured(
                f"topic {topic} was created anew since {self._model.name} read it",
                code=OTHER_TOPIC,
                next_step=next_step,
            )
        if not there.low <= position.next_offset <= there.end:
            raise Misconfigured(
                f"{self._model.name} has read {topic} partition {partition} up to offset "
                f"{position.next_offset}, but the log goes from {there.low} to {there.end}",
                code=LOST_LOG,
                next_step=f"find out why the log was cut; then {next_step}",
            )

    def _look_again(self, fenced: Fenced) -> None:
        """Begin again if the read model went back; stop if another process is ahead of us.

        A store that crashed goes back, data and checkpoint together.
        """
        held = dict(self._applier.positions)
        found = self._insist(self._model.checkpoint)
        if any(p in found and _ahead(found[p], position) for p, position in held.items()):
            raise fenced
        log.warning("%s; beginning again at the checkpoint", fenced)
        self._begin_again()

    def _insist(self, step: Callable[[], T]) -> T:
        """Return what `step` returns, trying again while a server is away.

        Raises `_InterruptedError` when asked to stop, or when a partition was taken away meanwhile.
        """
        backoff = Backoff()
        while True:
            try:
                return step()
            except Unavailable as error:
                seconds = backoff.next_seconds()
                log.warning("%s; trying again in %.1f s", error, seconds)
                self._log.hold_still(seconds, self._stopping)
            if self._stopping or self._log.losses != self._losses:
                raise _InterruptedError

    def _close(self) -> None:
        self._decoder.shutdown(cancel_futures=True)
        self._log.close()
        self._model.close()


def _ahead(found: Position, held: Position | None) -> bool:
    return held is None or (
        found.topic_id == held.topic_id and found.next_offset > held.next_offset
    )
