"""`rollbook bench sizes`: what users take: disk in each store, memory of each process, and time.

All of it comes from commands that a handler decides and projectors apply, so that transactions,
outcomes and indexes count. The disk of Kafka is read from the files of the local stack.
"""

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from projectors.catalog import OURS
from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import USERS_ALIAS
from projectors.postgres.store.database import Database
from projectors.versions.status import CAUGHT_UP, read_status
from runtime.settings import Settings
from runtime.terminal import say
from schemas.errors import CheckFailed, Misconfigured
from schemas.topics import TOPICS
from scripts.bench import state_size
from scripts.bench.report.measure import machine
from scripts.bench.workload.processes import (
    ROLLBOOK,
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
_LOOK_SECONDS: Final = 0.2


@dataclass(slots=True)
class Sizes:
    """The figures by unit and name; bytes of disk are those of all `users` together."""

    users: int
    partitions: int
    machine: Mapping[str, Any]
    disk_bytes: dict[str, int] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_per_user: float = 0.0
    bytes_per_command_id: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "users": self.users,
            "partitions": self.partitions,
            "machine": dict(self.machine),
            "disk_mb_per_million": {
                name: round(size / self.users, 1) for name, size in self.disk_bytes.items()
            },
            "memory_mb": {name: round(size) for name, size in self.memory_mb.items()},
            "seconds": {name: round(taken, 1) for name, taken in self.seconds.items()},
            "handler_bytes_per_user": round(self.bytes_per_user),
            "handler_bytes_per_command_id": round(self.bytes_per_command_id),
        }

    def as_rows(self) -> list[tuple[str, str]]:
        """Return the rows of the table that is printed without `--json`."""
        found = self.as_json()
        labels = {
            "disk_mb_per_million": "disk, MB per million users",
            "memory_mb": "resident memory, MB",
            "seconds": "seconds",
        }
        rows = [
            (f"{name}: {label}", f"{figure:,}")
            for unit, label in labels.items()
            for name, figure in found[unit].items()
        ]
        for unit, label in (("user", "user"), ("command_id", "remembered command id")):
            rows.append((f"handler: bytes per {label}", str(found[f"handler_bytes_per_{unit}"])))
        return rows


def measure(settings: Settings, users: int, *, as_json: bool) -> Sizes:
    """Create `users` users in a registry of their own on the local stack, and measure.

    Raises `Misconfigured` (`no_stack`) if the local stack does not run natively, `CheckFailed` if
    a process ends early.
    """
    log_folder = _log_folder()
    found = Sizes(users, settings.partitions, machine())

    def report(message: str) -> None:
        if not as_json:
            say(message)

    with fresh_registry(settings) as own:
        _decide(own, found, report)
        for name in OURS:
            report(f"filling {name}")
            _fill(own, name, found)
        found.disk_bytes |= _kafka_bytes(own, log_folder) | _store_bytes(own)
        for name in OURS:
            report(f"rebuilding {name}")
            _rebuild(own, name, found)
        report("restoring")
        restored = state_size.restore_in_own_process(own)
    found.seconds["handler restore"] = restored.seconds
    found.bytes_per_user = restored.users_bytes / restored.users
    found.bytes_per_command_id = restored.window_bytes / restored.outcomes
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
    with running_handlers(own) as handler:
        began = time.perf_counter()
        state_size.fill(own, found.users, handler.alive, report)
        found.seconds["handler creates all"] = time.perf_counter() - began
        found.memory_mb["handler"] = handler.resident_mb()


def _fill(own: Settings, name: str, found: Sizes) -> None:
    """Have a projector fill a new read model."""
    began = time.perf_counter()
    with running_projector(own, name) as projector:
        while not _is_caught_up(own, name):
            if not projector.alive():
                raise CheckFailed(f"the projector {name} ended early")
            time.sleep(_LOOK_SECONDS)
        found.seconds[f"{name} filled live"] = time.perf_counter() - began
        found.memory_mb[f"projector {name}"] = projector.resident_mb()


def _is_caught_up(own: Settings, name: str) -> bool:
    states = [one.state for one in read_status(own).partitions if one.read_model == name]
    return bool(states) and all(state == CAUGHT_UP for state in states)


def _rebuild(own: Settings, name: str, found: Sizes) -> None:
    """Build a second version as `rollbook projector rebuild` does, compared with the log."""
    began = time.perf_counter()
    command = [ROLLBOOK, "projector", "rebuild", name]
    with running(command, environment_of(own)) as rebuild:
        found.memory_mb[f"rebuild {name}, at most"] = _most_mb(rebuild)
        if rebuild.process.returncode != 0:
            raise CheckFailed(f"the rebuild of {name} failed")
    found.seconds[f"{name} rebuilt and compared"] = time.perf_counter() - began


def _most_mb(process: Running) -> float:
    """Return the most resident memory that a process had until it ended."""
    most = 0.0
    while process.alive():
        with suppress(subprocess.CalledProcessError):  # it ended meanwhile
            most = max(most, process.resident_mb())
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
