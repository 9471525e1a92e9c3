"""Measures our projectors: live, as `rollbook projector run` runs them, and rebuilding."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

from projectors.catalog import open_versions
from projectors.versions.rebuild import Rebuild
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import CheckFailed
from scripts.bench.workload.processes import running_projector
from scripts.bench.workload.rate import filling_rate
from scripts.bench.workload.stores import counted, remove_read_models

GUARANTEES: Final = {
    "postgres": (
        "exactly once: users, summary and position in one transaction; an older event never "
        "overwrites a newer one; a record that cannot be applied becomes a dead letter"
    ),
    "elasticsearch": (
        "effectively once: an older event never overwrites a newer one, deleted users stay "
        "deleted; the position is stored after the documents"
    ),
}
_LOOK_SECONDS: Final = 0.5
_LAST_BEFORE_SERVING: Final = "indexing"


@dataclass(frozen=True, slots=True)
class Projected:
    """How fast a projector filled its read model, and its memory at the end."""

    per_second: float
    resident_mb: float


@dataclass(frozen=True, slots=True)
class RebuildSeconds:
    """How long a rebuild took since it began to read, or to start the processes that do.

    Until `serving`, rows and indexes are complete, which is where a peer would be done; until
    `compared`, later events are applied too and everything is compared with the log.
    """

    serving: float
    compared: float


def project(settings: Settings, name: str, count: int, processes: int = 1) -> Projected:
    """Have projectors fill a new, fully indexed read model with the `count` users on the log.

    Several share the partitions once their group has agreed on that, which is measured too.
    """
    remove_read_models(settings)
    with closing(open_versions(settings, name)) as versions:
        versions.begin()
    with ExitStack() as stack:
        projectors = [
            stack.enter_context(running_projector(settings, name)) for _ in range(processes)
        ]
        count_users = stack.enter_context(counted(settings, name))
        rate = filling_rate(count_users, count, lambda: all(one.alive() for one in projectors))
        return Projected(rate, sum(one.resident_mb() for one in projectors))


@contextmanager
def filled_models(
    settings: Settings, names: Sequence[str], count: int
) -> Iterator[dict[str, float]]:
    """Keep read models up to date; the block begins once they hold all `count` users of the log.

    Yields the resident memory of each projector at that moment, in megabytes.
    """
    with ExitStack() as stack:
        projectors = {}
        for name in names:
            with closing(open_versions(settings, name)) as versions:
                versions.begin()
            projectors[name] = stack.enter_context(running_projector(settings, name))
        for name, projector in projectors.items():
            count_users = stack.enter_context(counted(settings, name))
            while count_users() < count:
                if not projector.alive():
                    raise CheckFailed(f"the projector {name} ended early")
                time.sleep(_LOOK_SECONDS)
        yield {name: projector.resident_mb() for name, projector in projectors.items()}


def rebuild(settings: Settings, name: str) -> RebuildSeconds:
    """Build a new version of a read model as `projector rebuild` does, and drop it."""
    with closing(open_versions(settings, name)) as versions:
        running = Rebuild(settings, versions, StopSignal(), processes=None)
        began = served = 0.0
        before = running.progress.step

        def on_progress() -> None:
            nonlocal began, served, before
            step, now = running.progress.step, time.perf_counter()
            began = began or now
            if before == _LAST_BEFORE_SERVING and step != before:
                served = now
            before = step

        running.on_progress = on_progress
        rebuilt = running.run()
        ended = time.perf_counter()
        assert rebuilt is not None  # noqa: S101 - it is never asked to stop
        versions.drop(rebuilt.version)
    return RebuildSeconds(served - began, ended - began)
