"""Where an endpoint takes its answers from: this process, or the processes that it started.

A process that started others asks each through a pipe when it is asked itself. So there are no
files, and of a process that died nothing is left (docs/decisions/0029).
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric as Family

from runtime.metrics.exposition import families, merged
from runtime.metrics.health import HEALTH
from runtime.metrics.recording import VALUES, Labels, Values
from runtime.network.certificates import certificate_ends
from runtime.settings import Settings
from schemas.errors import RollbookError, Unavailable

_ANSWER_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class State:
    """The metrics of a process or of several, and what their parts lack; see `lack_of`."""

    families: list[Family]
    missing: list[dict[str, Any]]


class Source(Protocol):
    """Answers for one process or several."""

    def state(self) -> State:
        """Return the present state; blocks for at most a few seconds. For several threads."""


class ThisProcess:
    """Answers for this process, which is of a kind (see `runtime.metrics.table`)."""

    def __init__(self, settings: Settings, kind: str) -> None:
        self._settings = settings
        self._kind = kind
        VALUES.set("build_info", 1, version("rollbook"))
        self._cpu_and_memory = ProcessCollector(registry=None)

    def state(self) -> State:
        """Return the state of this process."""
        ends: dict[Labels, float] = {
            (name,): end for name, end in certificate_ends(self._settings).items()
        }
        VALUES.replace("certificate_expiry_timestamp_seconds", ends)
        missing = [lack_of(part, error) for part, error in HEALTH.missing.items()]
        found = [*families(VALUES, self._kind), *self._cpu_and_memory.collect()]
        return State(found, missing)

    def answer(self, pipe: Connection) -> None:
        """Answer every request from `pipe` in a thread of its own, until the other end closes."""

        def serve() -> None:
            try:
                while True:
                    pipe.send((pipe.recv(), self.state()))
            except (EOFError, OSError):
                return

        threading.Thread(target=serve, name="metrics", daemon=True).start()


class StartedProcesses:
    """Answers for processes of one kind; `pipes` has for each the other end of its `answer`."""

    def __init__(self, kind: str, pipes: Mapping[str, Connection]) -> None:
        self._kind = kind
        self._pipes = pipes
        self._lock = threading.Lock()
        self._request = 0

    def state(self) -> State:
        """Return the merged states; a process that does not answer in time is missing."""
        with self._lock:
            self._request += 1
            states = {name: self._ask(pipe) for name, pipe in self._pipes.items()}
        found = [state.families for state in states.values() if state is not None]
        missing = [
            {**lack, "part": f"{name} {lack['part']}"}
            for name, state in states.items()
            for lack in (_SILENT if state is None else state.missing)
        ]
        if None in states.values():
            not_ready = Values()
            not_ready.set("process_ready", 0)
            found.append(families(not_ready, self._kind))
        return State(merged(found), missing)

    def _ask(self, pipe: Connection) -> State | None:
        """Return the answer of one process; answers to earlier requests may come first."""
        try:
            pipe.send(self._request)
            while pipe.poll(_ANSWER_SECONDS):
                request, state = pipe.recv()
                if request == self._request:
                    found: State = state
                    return found
        except (EOFError, OSError):
            pass  # it has ended
        return None


def lack_of(part: str, error: RollbookError) -> dict[str, Any]:
    """Return what a part of a process lacks, as a member of the problem document."""
    return {"part": part, "detail": str(error), "code": error.code, "next": error.next_step}


_SILENT: Final = [
    lack_of(
        "process",
        Unavailable(
            "the process does not answer", code="process_silent", next_step="look at its log"
        ),
    )
]
