"""Reports the progress of a replay: where it starts, how fast it goes, when it has caught up."""

import logging
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

PROGRESS_EVERY_SECONDS = 5.0


class CatchUp:
    """Tracks partitions from the offset where reading began to the end that the log had then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._targets: dict[int, int] = {}
        self._offsets_to_go: dict[int, int] = {}
        self._offsets = 0
        self._events = 0
        self._started = self._reported = clock()

    @property
    def caught_up(self) -> bool:
        """Whether every partition was read to where the log ended when reading began."""
        return not self._targets

    @property
    def events(self) -> int:
        """How many events were applied since reading last began."""
        return self._events

    @property
    def fraction(self) -> float:
        """How much of the replay is done, by offsets: from 0 to 1."""
        return 1 - sum(self._offsets_to_go.values()) / self._offsets if self._offsets else 0.0

    def begin(self, partition: int, start: int, end: int) -> None:
        """Note that `partition` is read from offset `start`, and that the log ends before `end`."""
        if not self._targets:
            self._events, self._offsets, self._started = 0, 0, self._clock()
            self._reported = self._started
        if start < end:
            of = {"partition": partition}
            log.info("replay: partition %d from %d to %d", partition, start, end, extra=of)
            self._targets[partition] = end
            self._offsets_to_go[partition] = end - start
            self._offsets += end - start

    def forget(self) -> None:
        """Note that every partition starts again or was revoked."""
        self._targets.clear()
        self._offsets_to_go.clear()

    def applied(self, events: int, reached: Mapping[int, int]) -> None:
        """Note that `events` were applied, and the offset each partition has `reached`."""
        if not self._targets:
            return
        self._events += events
        for partition, offset in reached.items():
            if partition in self._targets:
                self._offsets_to_go[partition] = max(0, self._targets[partition] - offset)
            if offset >= self._targets.get(partition, offset + 1):
                del self._targets[partition]
        now = self._clock()
        seconds = now - self._started
        if not self._targets:
            log.info("caught up in %.1f s (%d events)", seconds, self._events)
        elif now - self._reported >= PROGRESS_EVERY_SECONDS:
            self._reported = now
            log.info(
                "replay: %d events, %.0f/s, %d partitions to go",
                self._events,
                self._events / seconds,
                len(self._targets),
            )
