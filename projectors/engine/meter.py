"""Records what the projector of one version does (see `runtime.metrics.table`)."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from confluent_kafka.admin import AdminClient

from projectors.contract.read_model import Position
from projectors.engine.subscription import Subscription
from projectors.log.records import Record
from projectors.log.tails import LogTails
from runtime.metrics.health import Health
from runtime.metrics.recording import Values
from runtime.metrics.table import PROJECTOR_STATES
from schemas.errors import Forbidden, Unavailable

T = TypeVar("T")

READ, DECODE, WRITE = "read", "decode", "write"
_STEP_SECONDS: Final = 0.2


class Meter:
    """Discards what a projector measures: no metrics are served. `RecordingMeter` records it."""

    def timed(self, stage: str, step: Callable[[], T]) -> T:  # noqa: ARG002 - for those that record
        """Return what `step` returns, a stage of a batch; nothing is noted if that is empty."""
        return step()

    def applied(self, records: Sequence[Record]) -> None:
        """Note that records were applied."""

    def stepped(
        self,
        subscription: Subscription,
        positions: Mapping[int, Position | None],
        *,
        caught_up: bool,
    ) -> None:
        """Note what the process is at after a step of its loop."""

    def paused(self) -> None:
        """Note that somebody has paused the version."""

    def waits(self, error: Unavailable | Forbidden) -> None:
        """Note that it waits for a server."""

    def goes_on(self) -> None:
        """Note that the server has answered."""

    def failed(self) -> None:
        """Note that it has ended because of an error, and will be started again."""


class RecordingMeter(Meter):
    """Records everything in `values`; it is also a measurement for `runtime.metrics.follower`."""

    def __init__(
        self, health: Health, values: Values, tails: LogTails, read_model: str, version: int
    ) -> None:
        self._health = health
        self._values = values
        self._tails = tails
        self._labels = (read_model, str(version))
        self._waits = False
        self._next_step = 0.0
        # Of each assigned partition; None if it was never written, missing if that is not known.
        self._positions: dict[int, Position | None] = {}
        self._assigned: frozenset[int] = frozenset()
        self._is_in("starting")

    def timed(self, stage: str, step: Callable[[], T]) -> T:
        """Record the time of a stage."""
        began = time.perf_counter()
        found = step()
        if found or stage == WRITE:
            seconds = time.perf_counter() - began
            self._values.observe("projector_batch_seconds", seconds, *self._labels, stage)
        return found

    def applied(self, records: Sequence[Record]) -> None:
        """Count the records, and record when the newest event happened."""
        self._values.count("projector_events_applied_total", *self._labels, by=len(records))
        newest = next((one.event for one in reversed(records) if one.event is not None), None)
        if newest is not None:
            at = newest["occurred_at"] / 1000
            self._values.set("projector_newest_event_timestamp_seconds", at, *self._labels)

    def stepped(
        self,
        subscription: Subscription,
        positions: Mapping[int, Position | None],
        *,
        caught_up: bool,
    ) -> None:
        """Record the state, a few times a second at most."""
        if time.monotonic() < self._next_step:
            return
        self._next_step = time.monotonic() + _STEP_SECONDS
        assigned = frozenset(subscription.next) | subscription.waiting
        known = {**self._positions, **positions}
        self._positions = {number: known[number] for number in assigned if number in known}
        self._assigned = assigned
        self._values.set("projector_partitions", len(assigned), *self._labels)
        if not assigned:
            self._is_in("standby")
        elif subscription.waiting:
            self._is_in("starting")
        else:
            self._is_in("caught_up" if caught_up else "catching_up")

    def paused(self) -> None:
        """Record the state."""
        self._is_in("paused")

    def waits(self, error: Unavailable | Forbidden) -> None:
        """Make the process not ready."""
        self._waits = True
        self._health.lacks(error)
        self._is_in("waiting")

    def goes_on(self) -> None:
        """Make the process ready, if nothing else lacks anything."""
        if self._waits:
            self._waits = False
            self._health.works()

    def failed(self) -> None:
        """Record the state."""
        self._is_in("failed")

    def is_live(self, live: bool) -> None:  # noqa: FBT001 - the value of the metric
        """Record whether queries see the version."""
        self._values.set("projector_live", live, *self._labels)

    def _is_in(self, state: str) -> None:
        for one in PROJECTOR_STATES:
            self._values.set("projector_state", one == state, *self._labels, one)

    def measure(self, client: AdminClient) -> None:
        """Record the lag of the assigned partitions. Raises `Unavailable` and `Forbidden`."""
        # Before the ends: otherwise a position could be past the end that was read.
        positions, assigned = self._positions, self._assigned
        if not assigned or positions.keys() != assigned:
            self.forget()
            return
        ends = self._tails.ends(client, assigned)
        events, starts = 0, {}
        for partition, end in ends.items():
            position = positions[partition]
            behind = end.last_seq - (position.last_seq if position else 0)
            if behind > 0:
                events += behind
                starts[partition] = position.next_offset if position else end.low
        oldest_ms = self._tails.oldest_ms(starts) if starts else None
        seconds = time.time() - oldest_ms / 1000 if oldest_ms is not None else 0.0
        self._values.set("projector_lag_events", events, *self._labels)
        self._values.set("projector_lag_seconds", max(0.0, seconds), *self._labels)

    def forget(self) -> None:
        """Record no lag: 0 would say that there is none."""
        for name in ("projector_lag_events", "projector_lag_seconds"):
            self._values.discard(name, *self._labels)

    def close(self) -> None:
        """Remove every series of the version, which was dropped."""
        self._values.remove(*self._labels)
