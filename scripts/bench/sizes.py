"""`rollbook bench sizes`: what users take: disk in each store, memory of each process, and time.

All of it comes from commands that a handler decides and projectors apply, so that transactions,
outcomes and indexes count. The disk of Kafka is read from the files of the local stack.
"""

import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from projectors.catalog import OURS
from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import USERS_ALIAS
from projectors.postgres.store.database import Database
from projectors.versions.status import CAUGHT_UP, read_status
from runtime.command_line.terminal import say
from runtime.settings import Settings
from schemas.errors import CheckFailed, Misconfigured
from schemas.topics import TOPICS
from scripts.bench.command_side import state_size
from scripts.bench.report.measure import machine
from scripts.bench.workload.memory import Series, memory_over_time
from scripts.bench.workload.processes import (
    ROLLBOOK,
    WARM_UP_COMMANDS,
    Running,
    environment_of,
    running,
    running_handlers,
    running_projector,
)
from scripts.bench.workload.registry_under_test import fresh_registry
from scripts.stack.places import named_directory
from scripts.stack.record import read_record

_IN_SCHEMAS: Final = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = %(schema)s
"""
_BLOCK: Final = 512  # the unit of st_blocks
_MEMORY: Final = "resident memory, MB"
_LOOK_SECONDS: Final = 0.2
_STATUS_SECONDS: Final = 2.0  # asking takes processor time of what is measured


@dataclass(slots=True)
class Sizes:
    """What so many users take: unit → what was measured → figure, in the order of measuring."""

    users: int
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    memory_over_time: Series = field(default_factory=dict)

    def add(self, name: str, unit: str, figure: float) -> None:
        """Add a figure."""
        self.figures.setdefault(unit, {})[name] = round(figure, 1)

    def rows(self) -> Iterator[tuple[str, float]]:
        """Yield what was measured, with its unit, and the figure."""
        for unit, named in self.figures.items():
            for name, figure in named.items():
                yield f"{name}, {unit}", figure


@dataclass(frozen=True, slots=True)
class SizesByUsers:
    """The figures of one run for each number of users, the smallest first."""

    partitions: int
    machine: Mapping[str, Any]
    runs: list[Sizes]

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "partitions": self.partitions,
            "machine": dict(self.machine),
            "sizes": [asdict(one) for one in self.runs],
        }

    def as_rows(self) -> list[tuple[str, ...]]:
        """Return what was measured, with its unit, and the figure of each run."""
        of_runs = [dict(one.rows()) for one in self.runs]
        return [(label, *(f"{one[label]:,}" for one in of_runs)) for label in of_runs[-1]]


def measure_all(settings: Settings, users: Sequence[int], *, as_json: bool) -> SizesByUsers:
    """Measure a registry of its own on the local stack for each number of users.

    Reports each figure when it is known, unless the output is JSON. Raises `Misconfigured`
    (`no_stack`) if the local stack does not run natively, `CheckFailed` if a process ends early.
    """
    log_folder = _log_folder()
    on = machine()
    runs = [_measure(settings, log_folder, count, as_json=as_json) for count in sorted(users)]
    return SizesByUsers(settings.partitions, on, runs)


def _measure(settings: Settings, log_folder: Path, users: int, *, as_json: bool) -> Sizes:
    found = Sizes(users)
    reported = set[str]()

    def report(message: str) -> None:
        if as_json:
            return
        for label, figure in found.rows():
            if label not in reported:
                reported.add(label)
                say(f"  {label}: {figure:,}")
        say(message)

    with fresh_registry(settings) as own:
        _decide(own, found, report)
        report(f"filling {', '.join(OURS)}")
        _fill(own, found)
        for name, size in (_kafka_bytes(own, log_folder) | _store_bytes(own)).items():
            found.add(name, "disk, MB per million users", size / (users + WARM_UP_COMMANDS))
        report("restoring")
        restored = state_size.restore_in_own_process(own)
        found.add("handler restore", "seconds", restored.seconds)
        found.add("handler", "bytes per user", restored.users_bytes / restored.users)
        per_id = restored.window_bytes / restored.outcomes
        found.add("handler", "bytes per remembered command id", per_id)
        for name in OURS:
            report(f"rebuilding {name}")
            _rebuild(own, name, found)
    return found


def _log_folder() -> Path:
    """Return the folder in which the local broker keeps its topics."""
    record = read_record(named_directory(None))
    folder = Path(record.data, "kafka", "log") if record and record.data else None
    if folder is None or not folder.is_dir():
        raise Misconfigured(
            "the files of the broker are not on this machine",
            code="no_stack",
            next_step="start a native stack: `rollbook stack up --native`",
        )
    return folder


def _decide(own: Settings, found: Sizes, report: Callable[[str], None]) -> None:
    with running_handlers(own) as handler, memory_over_time({"handler": handler}) as series:
        began = time.perf_counter()
        state_size.fill(own, found.users, handler.alive, report)
        found.add("handler creates all", "seconds", time.perf_counter() - began)
        found.add("handler", _MEMORY, handler.resident_mb())
    found.memory_over_time |= series


def _fill(own: Settings, found: Sizes) -> None:
    """Have the projectors fill new read models, all at the same time."""
    began = time.perf_counter()
    with ExitStack() as stack:
        waiting = {name: stack.enter_context(running_projector(own, name)) for name in OURS}
        projectors = {f"projector {name}": one for name, one in waiting.items()}
        found.memory_over_time |= stack.enter_context(memory_over_time(projectors))
        while waiting:
            time.sleep(_STATUS_SECONDS)
            for name in _caught_up(own) & set(waiting):
                found.add(
                    f"{name} filled beside the others", "seconds", time.perf_counter() - began
                )
                found.add(f"projector {name}", _MEMORY, waiting.pop(name).resident_mb())
            for name, projector in waiting.items():
                if not projector.alive():
                    raise CheckFailed(f"the projector {name} ended early")


def _caught_up(own: Settings) -> set[str]:
    """Return the read models that have applied everything."""
    partitions = read_status(own).partitions
    behind = {one.read_model for one in partitions if one.state != CAUGHT_UP}
    return {one.read_model for one in partitions} - behind


def _rebuild(own: Settings, name: str, found: Sizes) -> None:
    """Build a second version as `rollbook projector rebuild` does, compared with the log."""
    began = time.perf_counter()
    command = [ROLLBOOK, "projector", "rebuild", name]
    with running(command, environment_of(own)) as rebuild:
        found.add(f"rebuild of {name}, at most", _MEMORY, _most_mb(rebuild))
        if rebuild.process.returncode != 0:
            raise CheckFailed(f"the rebuild of {name} failed")
    found.add(f"{name} rebuilt and compared", "seconds", time.perf_counter() - began)


def _most_mb(process: Running) -> float:
    """Return the most resident memory that a process had until it ended."""
    most = 0.0
    while process.alive():
        with suppress(subprocess.CalledProcessError):  # it ended meanwhile
            most = max(most, process.resident_mb(with_children=True))
        time.sleep(_LOOK_SECONDS)
    return most


def _kafka_bytes(own: Settings, log_folder: Path) -> dict[str, int]:
    """Return topic → the disk that its partitions take; files of indexes are sparse."""
    return {
        f"kafka {topic.name}": sum(
            file.stat().st_blocks * _BLOCK
            for partition in log_folder.glob(f"{own.named(topic.name)}-[0-9]*")
            for file in partition.iterdir()
        )
        for topic in TOPICS
    }


def _store_bytes(own: Settings) -> dict[str, int]:
    return dict(_postgres_bytes(own, ("postgres", "history"))) | {
        "elasticsearch users": _elasticsearch_bytes(own)
    }


def _postgres_bytes(own: Settings, names: Iterable[str]) -> Iterable[tuple[str, int]]:
    """Yield read model → its tables with their indexes and TOAST."""
    for name in names:
        with (
            closing(Database(own, read_model=name, version=1)) as database,
            database.session() as connection,
        ):
            of_version = {"schema": database.schema}
            [[size]] = connection.execute(_IN_SCHEMAS, of_version).fetchall()
        yield f"postgres {'users' if name == 'postgres' else name}", int(size)


def _elasticsearch_bytes(own: Settings) -> int:
    """Return the size of the index after a flush; merges that follow make it smaller."""
    index = f"{own.named(USERS_ALIAS)}-1"
    with closing(connect(own)) as client:
        client.indices.flush(index=index)
        stats = client.indices.stats(index=index, metric="store").body
    return int(stats["_all"]["primaries"]["store"]["size_in_bytes"])
