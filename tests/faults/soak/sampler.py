"""Samples all processes of a soak, in threads that neither wait for the load nor hold it up."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, Self

import psutil
from confluent_kafka import KafkaException, TopicPartition

from producers.handler.members import GROUP
from projectors.versions.status import read_status
from runtime.kafka.clients import lone_consumer
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import RollbookError
from schemas.topics import COMMANDS, HOPS
from scripts.stack.native.local import LocalStack
from scripts.stack.record import read_record
from tests.faults.nemesis.system import System
from tests.faults.soak.series import Series

_PROCESSES_SECONDS: Final = 5.0
_REST_SECONDS: Final = 10.0
_MIB: Final = 1 << 20
_LISTENING: Final = "0A"  # in /proc/net
# The registry keeps its data in Kafka.
_WITH_FILES: Final = ("kafka", "postgres", "elasticsearch")


class Sampler:
    """Measures inside its `with` block; `series` has what was measured, by measure and process."""

    def __init__(self, system: System, stack: LocalStack) -> None:
        self.series: dict[tuple[str, str], Series] = {}
        self.flaws: list[str] = []
        self._system = system
        self._stack = stack
        # It keeps the schemas: lag is measured without a registry too.
        self._registry = Registry(system.settings)
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(what, seconds), daemon=True)
            for what, seconds in (
                (self._measure_processes, _PROCESSES_SECONDS),
                (self._measure_lag, _REST_SECONDS),
                (self._measure_disk, _REST_SECONDS),
            )
        ]

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def seconds(self) -> float:
        """Return the time since the block was entered."""
        return time.monotonic() - self._began

    def _repeat(self, measure: Callable[[], None], seconds: float) -> None:
        while not self._ended.wait(seconds):
            try:
                measure()
            except (RollbookError, KafkaException):
                pass  # a server is away: nothing is measured meanwhile
            except Exception as error:  # noqa: BLE001 - the others go on, the soak has failed
                self.flaws.append(f"sampling failed: {type(error).__name__}: {error}")

    def _add(self, process: str, found: Mapping[str, float]) -> None:
        now = self.seconds()
        for measure, value in found.items():
            series = self.series.setdefault((measure, process), Series(measure, process))
            series.add(now, value)

    def _measure_processes(self) -> None:
        pids = {self._name(name): one.pid for name, one in list(self._system.processes.items())}
        pids |= {name: one.pid for name, one in self._stack.servers().items() if one.pid}
        connections = tcp_connections()
        for name, pid in pids.items():
            with suppress(psutil.Error):  # it was just killed
                self._add(name, measure_tree(pid, connections))

    def _name(self, name: str) -> str:
        if len(name) == 1:
            return f"handler {name}"
        return name if name.endswith("projector") else f"serve {name}"

    def _measure_lag(self) -> None:
        settings = self._system.settings
        self._add("handlers", {"lag": _handlers_lag(settings)})
        live = [one for one in read_status(settings, self._registry).partitions if one.live]
        for name in sorted({one.read_model for one in live}):
            lag = sum(one.lag or 0 for one in live if one.read_model == name)
            self._add(f"{name} projector", {"lag": lag})

    def _measure_disk(self) -> None:
        if record := read_record(self._stack.directory):
            for name in _WITH_FILES:
                self._add(name, {"disk": used_bytes(Path(record.data) / name) / _MIB})


def measure_tree(pid: int, connections: Collection[str]) -> dict[str, float]:
    """Return the sums over a process and its descendants. Raises `psutil.Error` if it is gone.

    Memory is what would be free if only that process ended: what it shares with others, such as
    libraries and PostgreSQL's buffers, is left out.
    """
    first = psutil.Process(pid)
    found = dict.fromkeys(("memory", "files", "threads", "connections"), 0.0)
    for process in (first, *first.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, FileNotFoundError):  # a child that ends meanwhile
            files = Path(f"/proc/{process.pid}/fd").iterdir()
            links = [str(file.readlink()) for file in files]
            found["memory"] += process.memory_full_info().uss / _MIB
            found["files"] += len(links)
            found["threads"] += process.num_threads()
            found["connections"] += sum(link in connections for link in links)
    if not found["threads"]:
        raise psutil.NoSuchProcess(pid)
    return found


def tcp_connections() -> set[str]:
    """Return all TCP sockets but listening ones, as the links of open files name them.

    They are read once for all processes: a busy machine has thousands.
    """
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text("ascii").splitlines()[1:]
    ]
    return {f"socket:[{row[9]}]" for row in rows if row[3] != _LISTENING}


def used_bytes(directory: Path) -> int:
    """Return what the files below a directory use of the disk; sparse parts use nothing."""
    total = 0
    for file in directory.rglob("*"):
        with suppress(FileNotFoundError):  # Kafka has just deleted it
            total += file.lstat().st_blocks * 512
    return total


def _handlers_lag(settings: Settings) -> float:
    """Return how many offsets of commands and messages the handlers have not committed.

    A few of them are markers of transactions, which nobody reads.
    """
    places = [
        TopicPartition(settings.named(topic.name), number)
        for topic in (COMMANDS, HOPS)
        for number in range(settings.partitions)
    ]
    lag = 0
    with closing(lone_consumer(settings, **{"group.id": settings.named(GROUP)})) as reader:
        for place in reader.committed(places, 10):
            low, end = reader.get_watermark_offsets(place, timeout=10)
            lag += end - max(low, place.offset)
    return lag
