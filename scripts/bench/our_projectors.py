"""Measures our projectors: live, as `rollbook projector run` runs them, and rebuilding."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from projectors.catalog import open_versions
from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import USERS_ALIAS
from projectors.postgres.store.database import Database
from projectors.versions.rebuild import Rebuild
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import CheckFailed
from scripts.bench.handlers import ROLLBOOK, environment_of
from scripts.bench.rate import filling_rate
from scripts.bench.stores import remove_read_models
from scripts.bench.user_index import UserIndex
from scripts.bench.user_table import UserTable
from scripts.stack.fetch import last_lines

GUARANTEES: Final = {
    "postgres": (
        "exactly once: users, summary and position in one transaction; an older event never "
        "overwrites a newer one; what cannot be applied is named in dead letters"
    ),
    "elasticsearch": (
        "as if once: an older event never overwrites a newer one, users who are gone stay gone; "
        "the position follows the documents"
    ),
}
_MEGABYTE: Final = 1e6
_LOOK_SECONDS: Final = 0.5
_LAST_BEFORE_SERVING: Final = "indexing"


@dataclass(frozen=True, slots=True)
class Projected:
    """How fast a projector filled its read model, and its memory at the end."""

    per_second: float
    resident_mb: float


@dataclass(frozen=True, slots=True)
class RebuildSeconds:
    """How long a rebuild took from its first events on.

    `serving` is until rows and indexes were there, which is where a peer would be done; `compared`
    until what came meanwhile was read too, and all of it compared with the log.
    """

    serving: float
    compared: float


@dataclass(frozen=True, slots=True)
class RunningProjector:
    """A `rollbook projector run` process."""

    process: subprocess.Popen[bytes]

    def alive(self) -> bool:
        """Say whether it still runs."""
        return self.process.poll() is None

    def resident_mb(self) -> float:
        """Return its resident memory."""
        statm = Path(f"/proc/{self.process.pid}/statm")
        if statm.exists():
            pages = int(statm.read_text(encoding="ascii").split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / _MEGABYTE
        asked = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
        return int(subprocess.run(asked, capture_output=True, check=True).stdout) / 1000


@contextmanager
def running_projector(settings: Settings, name: str) -> Iterator[RunningProjector]:
    """Run the projector of a read model while within."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "projector.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [ROLLBOOK, "projector", "run", name],
                env=environment_of(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield RunningProjector(process)
        except CheckFailed as failed:
            raise CheckFailed(f"{failed}; its log:\n{last_lines(log, 3)}") from failed
        finally:
            process.terminate()
            process.wait()


def project(settings: Settings, name: str, count: int) -> Projected:
    """Have a new, empty read model filled with the `count` users on the log, fully indexed."""
    remove_read_models(settings)
    with closing(open_versions(settings, name)) as versions:
        versions.begin()
    with running_projector(settings, name) as projector, _counted(settings, name) as counted:
        rate = filling_rate(counted, count, projector.alive)
        return Projected(rate, projector.resident_mb())


@contextmanager
def filled_models(
    settings: Settings, names: Sequence[str], count: int
) -> Iterator[dict[str, float]]:
    """Keep read models up to date while within, all `count` users on the log in them when entered.

    Gives the megabytes that each projector took until then.
    """
    with ExitStack() as stack:
        running = {}
        for name in names:
            with closing(open_versions(settings, name)) as versions:
                versions.begin()
            running[name] = stack.enter_context(running_projector(settings, name))
        for name, projector in running.items():
            counted = stack.enter_context(_counted(settings, name))
            while counted() < count:
                if not projector.alive():
                    raise CheckFailed(f"the projector {name} ended early")
                time.sleep(_LOOK_SECONDS)
        yield {name: projector.resident_mb() for name, projector in running.items()}


@contextmanager
def _counted(settings: Settings, name: str) -> Iterator[Callable[[], int]]:
    """Give what counts the users in the first version of a read model."""
    if name == "postgres":
        with closing(Database(settings, version=1)) as database:
            yield UserTable(database.schema, database).count
    else:
        with closing(connect(settings)) as client:
            yield UserIndex(f"{settings.named(USERS_ALIAS)}-1", client).count


def rebuild(settings: Settings, name: str) -> RebuildSeconds:
    """Build a new version of a read model from the log as it is, and drop it.

    The clock runs from when the first events were there: joining the group is not measured.
    """
    with closing(open_versions(settings, name)) as versions:
        running = Rebuild(settings, versions, StopSignal())
        began = served = time.perf_counter()
        before = running.progress.step

        def on_progress() -> None:
            nonlocal began, served, before
            step, now = running.progress.step, time.perf_counter()
            if running.progress.events == 0:
                began = now
            if before == _LAST_BEFORE_SERVING and step != before:
                served = now
            before = step

        running.on_progress = on_progress
        rebuilt = running.run()
        ended = time.perf_counter()
        assert rebuilt is not None  # noqa: S101 - nobody asked it to stop
        versions.drop(rebuilt.version)
    return RebuildSeconds(served - began, ended - began)
