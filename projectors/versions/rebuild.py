"""Builds and verifies a new version of a read model from the log, while the live one serves.

1. Drop what an earlier rebuild left behind; create a version.
2. Read the log from its beginning into it, without indexes.
3. Build what was deferred: indexes, totals.
4. Read the events that were written meanwhile.
5. Compare its rows with a fold of the log up to its checkpoint.
6. Make it ready: projectors keep it up to date, and a swap can make it live.

Several processes share the reading and the comparison of a long log.

If it fails at any point, the live version is untouched and the new one is dropped: by the rebuild
itself, or by a projector if the rebuild was killed (see `abandoned`). It can be run again.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from projectors.contract.read_model import BUILDING, ReadModelVersions
from projectors.engine.start import open_runner
from projectors.versions.compare import MAX_NAMED, Comparison, compare_version
from projectors.versions.groups import delete_leftover_groups
from projectors.versions.rebuild_lock import rebuild_lock
from projectors.versions.shared_work import fill_partitions, shares
from runtime.kafka.registry import Registry
from runtime.process import StopSignal
from runtime.settings import Settings
from runtime.topics.log_ranges import log_ranges
from runtime.workers import Workers, WorkStopped, started_workers, worth_starting
from schemas.errors import RollbookError


class RebuildDiffersError(RollbookError):
    """The new version differs from the log: it must not go live."""

    default_code = "rebuild_differs"


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a rebuild: its step, how much of the step is done (0 to 1), events applied.

    `step_began_at` is a reading of the monotonic clock.
    """

    step: str = "waiting for servers"
    fraction: float = 0.0
    events: int = 0
    step_began_at: float = 0.0

    def seconds_left(self, now: float) -> float | None:
        """Return how long the step will take from `now` on, None if not yet known."""
        if not 0 < self.fraction < 1:
            return None
        return (now - self.step_began_at) * (1 - self.fraction) / self.fraction

    def describe(self, seconds: float, now: float) -> str:
        """Return the progress as a line for people, `seconds` after the rebuild began."""
        left = self.seconds_left(now)
        rate = f"{self.step}: {self.events:,} events, {self.events / max(seconds, 1e-3):,.0f}/s"
        return rate if left is None else f"{rate}, {left:.0f} s left"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result of a rebuild: a version that is ready to go live."""

    version: int
    events: int
    comparison: Comparison

    def as_json(self, read_model: str, seconds: float) -> dict[str, Any]:
        """Return the result as commands print it and services answer it."""
        return {
            "read_model": read_model,
            "version": self.version,
            "events": self.events,
            "seconds": round(seconds, 1),
            "events_per_second": round(self.events / max(seconds, 1e-3)),
            "rows_compared": self.comparison.rows,
            "users_left_out": self.comparison.with_letters,
            "users_changed_meanwhile": self.comparison.changed,
        }


class Rebuild:
    """One rebuild: see `run`. `on_progress` is called often; it may read `progress`."""

    def __init__(
        self,
        settings: Settings,
        versions: ReadModelVersions,
        stopping: StopSignal,
        processes: int | None = 1,
    ) -> None:
        """Raise `Unavailable` if the registry cannot be reached.

        With more than one of the `processes`, they open `versions` by its name; None stands for as
        many as the log is worth (see `worth_starting`).
        """
        self.progress = Progress()
        self.on_progress: Callable[[], None] = lambda: None
        self._settings = settings
        self._versions = versions
        self._stopping = stopping
        self._processes = processes
        Registry(settings).codec(versions.source.topic.schema)  # to fail now rather than halfway
        self._events = 0
        self._step_began_at = time.monotonic()

    def run(self) -> Rebuilt | None:
        """Build, finish and compare a version; return None if asked to stop before that is done.

        While reading, waits for servers that are unavailable; in other steps raises `Unavailable`.
        Raises `Rejected` (`rebuild_running`) if another rebuild is running, `RebuildDiffersError`,
        and what `Runner.run` does.
        """
        with rebuild_lock(self._settings, self._versions.name):
            self._versions.begin()
            for version in self._versions.versions():
                if version.state == BUILDING:
                    self._versions.drop(version.number)
            self._delete_groups()
            number = self._versions.create()
            rebuilt = None
            try:
                with suppress(WorkStopped), self._started_workers() as workers:
                    rebuilt = self._run(number, workers)
            finally:
                if rebuilt is None:
                    self._drop(number)
            return rebuilt

    def _drop(self, number: int) -> None:
        """Drop a version that was not completed: nothing would erase users from it."""
        with suppress(RollbookError):  # a projector will do it
            self._versions.drop(number)
        self._delete_groups()

    def _delete_groups(self) -> None:
        """Delete the groups of dropped versions; the rebuild is complete without that."""
        with suppress(RollbookError):
            delete_leftover_groups(self._settings, self._versions)

    def _started_workers(self) -> AbstractContextManager[Workers | None]:
        count = self._processes
        if count is None:
            ranges = log_ranges(
                self._settings, self._versions.source.topic, range(self._settings.partitions)
            )
            count = worth_starting(sum(there.end - there.low for there in ranges.values()))
        count = min(count, self._settings.partitions)
        return started_workers(self._settings, count) if count > 1 else nullcontext()

    def _run(self, number: int, workers: Workers | None) -> Rebuilt:
        self._read(number, "reading the log", workers)
        self._report("indexing", 0.0)
        self._versions.finish(number)
        self._read(number, "reading what was written meanwhile", None)
        comparison = self._compare(number, workers)
        self._versions.accept(number)
        return Rebuilt(number, self._events, comparison)

    def _read(self, number: int, step: str, workers: Workers | None) -> None:
        """Apply everything that the log has now. Raises `WorkStopped`."""
        self._report(step, 0.0)
        if workers is not None:
            self._read_shared(number, step, workers)
            return
        partitions, before = range(self._settings.partitions), self._events
        model = self._versions.open(number)
        runner = open_runner(self._settings, model, self._stopping, share=partitions)

        def on_step() -> None:
            self._events = before + runner.catch_up.events
            self._report(step, runner.catch_up.fraction)

        runner.run_until_caught_up(len(partitions), on_step)
        on_step()
        if self._stopping:
            raise WorkStopped

    def _read_shared(self, number: int, step: str, workers: Workers) -> None:
        partitions, before = self._settings.partitions, self._events
        work = [(self._versions.name, number, one) for one in shares(partitions, workers.count)]
        reports: dict[int, tuple[int, float]] = {}

        def on_report(report: tuple[int, int, float]) -> None:
            first, events, fraction = report
            reports[first] = events, fraction
            self._events = before + sum(events for events, _ in reports.values())
            self._report(step, sum(fraction for _, fraction in reports.values()) / len(work))

        applied = workers.run(fill_partitions, work, on_report, self._stopping)
        self._events = before + sum(applied)
        self._report(step, 1.0)

    def _compare(self, number: int, workers: Workers | None) -> Comparison:
        def on_progress(partition: int) -> None:
            self._report("comparing with the log", partition / self._settings.partitions)

        on_progress(0)
        found = compare_version(
            self._settings,
            self._versions,
            number,
            on_progress,
            workers=workers,
            stopping=self._stopping,
        )
        if not found.same:
            raise RebuildDiffersError(
                f"version {number} of {self._versions.name} differs from the log in "
                f"{len(found.differing)} users, such as {', '.join(found.differing[:MAX_NAMED])}",
                next_step="please report it; nothing was swapped, and the new version is dropped",
            )
        return found

    def _report(self, step: str, fraction: float) -> None:
        if step != self.progress.step:
            self._step_began_at = time.monotonic()
        self.progress = Progress(step, fraction, self._events, self._step_began_at)
        self.on_progress()
