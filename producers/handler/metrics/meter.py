"""Records what a handler does (see `runtime.metrics.table`) and whether it can do it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaException, Message

from producers.handler.batch import Batch
from producers.handler.open_segments import SegmentRoller
from producers.handler.partitions.meter import PartitionMeter
from producers.handler.partitions.partition import Deciding, Phase, Restoring, Stopped
from producers.handler.transaction import IndefiniteError
from runtime.metrics.health import START, Health
from runtime.metrics.recording import Values
from runtime.metrics.table import LABEL_VALUES, OTHER_KIND
from runtime.settings import Settings
from schemas.errors import Fenced, Forbidden, Unavailable
from schemas.records import REJECTED
from schemas.topics import COMMANDS

_REFRESH_SECONDS: Final = 1.0
# Of a batch with more commands, so many are measured, and each counts for several.
_SAMPLE: Final = 16
_READS_AGAIN_SECONDS: Final = 10.0
# The parts of a handler that can fail by themselves, besides `RESTORE`.
_GROUP: Final = "group"
_READING: Final = "reading"
TRANSACTIONS: Final = "transactions"


class Meter(PartitionMeter):
    """Discards what a handler measures: no metrics are served. `RecordingMeter` records it."""

    tallies = False

    def is_member(self) -> None:
        """Note that the handler is a member of its group: it decides, restores or is a standby."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Note how the transaction in the `with` block ends."""
        yield

    def committed(
        self, batch: Batch, messages: Sequence[Message], *, decided_in: float, committed_in: float
    ) -> None:
        """Note a committed batch, which `messages` made; times are in seconds."""

    def refresh(self, phases: Callable[[], Mapping[int, Phase]], roller: SegmentRoller) -> None:
        """Note, about once a second, what has no moment of its own."""


class RecordingMeter(Meter):
    """Records everything in `values`. `assigned` are the partitions of the last second."""

    tallies = True

    def __init__(self, health: Health, values: Values, settings: Settings) -> None:
        self._health = health
        self._values = values
        self._commands_topic = settings.named(COMMANDS.name)
        self._prefix = settings.named("")
        self._due = 0.0
        self._reads_again_at = 0.0
        self.assigned: Sequence[int] = ()

    def lacks(self, failure: Unavailable | Forbidden, part: str) -> None:
        """Make the process not ready."""
        self._health.lacks(failure, part)

    def works(self, part: str) -> None:
        """Make the process ready, if no other part lacks anything."""
        self._health.works(part)

    def cannot_read(self, failure: Unavailable | Forbidden) -> None:
        """Make the process not ready for a while; librdkafka repeats an error that lasts."""
        self._health.lacks(failure, _READING)
        self._reads_again_at = time.monotonic() + _READS_AGAIN_SECONDS

    def is_member(self) -> None:
        """Make the process ready, if no part lacks anything."""
        self._health.works(START)
        self._health.works(_GROUP)

    def was_dropped(self) -> None:
        """Make the process not ready until it is a member again, and count it as fenced."""
        dropped = Fenced("the group has dropped this handler, which joins it again")
        self._health.lacks(dropped, _GROUP)
        self._values.count("handler_fenced_total")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Count the transaction by its end."""
        result = "committed"
        try:
            yield
        except KafkaException:
            result = "aborted"
            raise
        except (IndefiniteError, Fenced) as error:
            result = "unknown"
            if isinstance(error, Fenced):
                self._values.count("handler_fenced_total")
            raise
        finally:
            self._values.count("handler_transactions_total", result)

    def restored(self, seconds: float) -> None:
        """Record the time of a restore."""
        self._values.observe("handler_restore_seconds", seconds)

    def committed(
        self, batch: Batch, messages: Sequence[Message], *, decided_in: float, committed_in: float
    ) -> None:
        """Record a batch, and how long its commands took since they were sent."""
        values, now = self._values, time.time()
        values.observe("handler_decision_seconds", decided_in)
        values.observe("handler_commit_seconds", committed_in)
        values.observe("handler_batch_commands", batch.decided)
        values.set("handler_last_commit_timestamp_seconds", now)
        for kinds, outcomes in batch.answers():
            answers = Counter(kinds)
            refused = Counter(
                kind
                for kind, outcome in zip(kinds, outcomes, strict=True)
                if outcome["status"] == REJECTED
            )
            for kind, answered in answers.items():
                label = kind if kind in LABEL_VALUES["kind"] else OTHER_KIND
                rejected = refused[kind]
                if rejected:
                    values.count("commands_decided_total", label, "rejected", by=rejected)
                values.count("commands_decided_total", label, "accepted", by=answered - rejected)
        step = max(1, len(messages) // _SAMPLE)
        for message in messages[::step]:
            if message.topic() == self._commands_topic:
                seconds = max(0.0, now - message.timestamp()[1] / 1000)
                values.observe("command_seconds", seconds, times=step)

    def refresh(self, phases: Callable[[], Mapping[int, Phase]], roller: SegmentRoller) -> None:
        """Record the partitions, their restores, their open claims and their open segments."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _REFRESH_SECONDS
        if self._due > self._reads_again_at:
            self._health.works(_READING)
        found = phases()
        self.assigned = tuple(found)
        self._record_partitions(found)
        self._record_claims(found)
        self._record_segments(roller)

    def _record_partitions(self, phases: Mapping[int, Phase]) -> None:
        states = Counter(_state(phase) for phase in phases.values())
        for state in ("restoring", "ready", "held_up"):
            self._values.set("handler_partitions", states[state], state)
        progress = {
            (str(number),): phase.restore.progress()
            for number, phase in phases.items()
            if isinstance(phase, Restoring)
        }
        for name, index in (("handler_restored_records", 0), ("handler_restore_records", 1)):
            self._values.replace(name, {labels: at[index] for labels, at in progress.items()})

    def _record_claims(self, phases: Mapping[int, Phase]) -> None:
        times = [
            at
            for phase in phases.values()
            if isinstance(phase, Deciding)
            for at in phase.state.open_grants.values()
        ]
        oldest_seconds = time.time() - min(times) / 1000 if times else 0.0
        self._values.set("handler_open_claims", len(times))
        self._values.set("handler_oldest_open_claim_seconds", max(0.0, oldest_seconds))

    def _record_segments(self, roller: SegmentRoller) -> None:
        for topic, (age_ms, limit_ms) in roller.ages(time.time_ns() // 1_000_000).items():
            label = topic.removeprefix(self._prefix)
            self._values.set("handler_oldest_open_segment_seconds", age_ms / 1000, label)
            self._values.set("handler_open_segment_limit_seconds", limit_ms / 1000, label)


def _state(phase: Phase) -> str:
    if isinstance(phase, Deciding):
        return "ready"
    return "held_up" if isinstance(phase, Stopped) else "restoring"
