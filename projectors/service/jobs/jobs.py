"""Operations that take long: each is a job in its own process, and one runs at a time.

A process of its own, because a rebuild would slow down every query of this one, and can be stopped
at any moment: whatever it does is safe to be killed. A job is known to the instance that runs it,
until that ends or a hundred others have begun.
"""

import asyncio
import itertools
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from projectors.log.times import iso_time
from projectors.service.job_states import FAILED, RUNNING, STOPPED, SUCCEEDED
from projectors.service.jobs.worker import Operation, run_operation
from runtime.settings import Settings
from schemas.errors import Rejected

_MOST_JOBS: Final = 100
_MOST_LINES: Final = 10_000
_STOP_SECONDS: Final = 4.0  # a projector drops what a rebuild leaves behind


@dataclass(slots=True)
class Job:
    """A job; `lines` are its latest ones, each with its number, from 1."""

    number: str
    operation: str
    arguments: Mapping[str, Any]
    started_by: str | None
    process: SpawnProcess
    started_at: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    ended_at: int | None = None
    state: str = RUNNING
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    lines: deque[tuple[int, Mapping[str, Any]]] = field(
        default_factory=lambda: deque(maxlen=_MOST_LINES)
    )
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def as_json(self) -> dict[str, Any]:
        """Return the job as the service answers it."""
        return {
            "job": self.number,
            "operation": self.operation,
            "arguments": dict(self.arguments),
            "state": self.state,
            "started_at": iso_time(self.started_at),
            "started_by": self.started_by,
            "ended_at": None if self.ended_at is None else iso_time(self.ended_at),
            "last_line": self.lines[-1][1] if self.lines else None,
            "result": self.result,
            "error": self.error,
        }

    def wake_followers(self) -> None:
        """Tell whoever follows that there is a line, or the end."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def follow(
        self, after: int, stopping: asyncio.Event
    ) -> AsyncIterator[tuple[int, Mapping[str, Any]]]:
        """Yield the lines after a number as they come, until the job or the service ends."""
        while not stopping.is_set():
            changed = self.changed  # taken first, so that no line is missed
            for number, line in list(self.lines):
                if number > after:
                    after = number
                    yield number, line
            if self.state != RUNNING and (not self.lines or after >= self.lines[-1][0]):
                return
            waits = [asyncio.ensure_future(one.wait()) for one in (changed, stopping)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()


class Jobs:
    """The jobs of this instance. Use it from one event loop."""

    def __init__(self, settings: Settings, operations: Mapping[str, Operation]) -> None:
        """`operations` maps names to functions that can be imported by their names."""
        self._settings = settings
        self._operations = operations
        self._jobs: dict[str, Job] = {}

    def start(self, operation: str, arguments: Mapping[str, Any], started_by: str | None) -> Job:
        """Start a job. Raises `Rejected` (`job_running`) while another one runs."""
        for other in self._jobs.values():
            if other.state == RUNNING:
                raise Rejected(
                    f"the job {other.number} ({other.operation}) is running",
                    code="job_running",
                    next_step=f"wait for it, or stop it: DELETE /jobs/{other.number}",
                )
        context = get_context("spawn")
        here, there = context.Pipe(duplex=False)
        parameters = (self._operations[operation], self._settings, dict(arguments), there)
        process = context.Process(target=run_operation, args=parameters, daemon=True)
        process.start()
        there.close()  # so that the end of the process ends the pipe
        job = Job(uuid.uuid4().hex[:12], operation, arguments, started_by, process)
        self._jobs[job.number] = job
        for old in list(self._jobs)[:-_MOST_JOBS]:
            del self._jobs[old]
        loop = asyncio.get_running_loop()
        reader = threading.Thread(target=_read, args=(job, here, loop), daemon=True)
        reader.start()
        return job

    def get(self, number: str) -> Job:
        """Return a job. Raises `Rejected` (`job_not_found`)."""
        if number not in self._jobs:
            raise Rejected(
                "there is no such job",
                code="job_not_found",
                next_step="GET /jobs lists the jobs of this instance since it started",
            )
        return self._jobs[number]

    def all(self) -> list[Job]:
        """Return the latest hundred jobs, the latest first."""
        return list(self._jobs.values())[::-1]

    def stop(self, number: str) -> Job:
        """Ask a job to stop, if it is running; its state says when it has."""
        job = self.get(number)
        if job.state == RUNNING:
            job.process.terminate()
        return job

    def close(self) -> None:
        """Stop the job that is running; kill it if it has not ended after 4 s."""
        running = [job.process for job in self._jobs.values() if job.process.is_alive()]
        for process in running:
            process.terminate()
        for process in running:
            process.join(_STOP_SECONDS)
            process.kill()


def _read(job: Job, pipe: Connection, loop: asyncio.AbstractEventLoop) -> None:
    """Hand what the process sends to the event loop; runs in a thread."""
    numbers = itertools.count(1)
    with pipe, suppress(RuntimeError):  # the loop is closed: the service has ended
        while True:
            try:
                kind, content = pipe.recv()
            except (EOFError, OSError):
                break
            number = next(numbers) if kind == "line" else 0
            loop.call_soon_threadsafe(_note, job, kind, (number, content))
        job.process.join()
        loop.call_soon_threadsafe(_note_end, job)


def _note(job: Job, kind: str, numbered: tuple[int, Mapping[str, Any]]) -> None:
    if kind == "line":
        job.lines.append(numbered)
    elif kind == "result":
        job.result = numbered[1]
    else:
        job.error = numbered[1]
    job.wake_followers()


def _note_end(job: Job) -> None:
    job.ended_at = time.time_ns() // 1_000_000
    if job.error is not None:
        job.state = FAILED
    elif job.result is not None:
        job.state = SUCCEEDED
    else:  # it was asked to stop, or killed
        job.state = STOPPED
    job.wake_followers()
