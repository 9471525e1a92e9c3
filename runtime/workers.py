"""Processes that share the work of one command, because one Python process uses only one core.

They are spawned, since Kafka clients do not survive a fork, and all of them hash alike, so that
sums of hashes can be compared. They end when the process that started them does, however it ends.
"""

import logging
import os
import queue
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from typing import Any, Final, TypeVar

from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import RollbookError

T = TypeVar("T")

MOST: Final = 4
# Starting a process takes as long as one needs for some 50,000 events.
_EVENTS_FOR_EACH: Final = 100_000
_LOOK_SECONDS: Final = 0.1
_HASH_SEED: Final = "PYTHONHASHSEED"


def worth_starting(events: int) -> int:
    """Return how many processes so many events are worth: one for each core, at most four."""
    return max(1, min(MOST, os.cpu_count() or 1, events // _EVENTS_FOR_EACH))


@dataclass(frozen=True, slots=True)
class Worker:
    """What a piece of work gets in its process: settings, the wish to stop, a way to report."""

    settings: Settings
    stopping: StopSignal
    messages: "Queue[Any]"

    def report(self, message: Any) -> None:
        """Send a message to the process that waits for the work."""
        self.messages.put(message)


class Workers:
    """Processes that work at the same time; see `started_workers`. Not for several threads."""

    def __init__(
        self,
        count: int,
        pool: ProcessPoolExecutor,
        messages: "Queue[Any]",
        close: Callable[[], None],
    ) -> None:
        self.count = count
        self._pool = pool
        self._messages = messages
        self._close = close

    def run(
        self,
        work: Callable[..., T],
        shares: Sequence[tuple[Any, ...]],
        on_message: Callable[[Any], None],
        stopping: StopSignal,
    ) -> list[T]:
        """Return `work(worker, *share)` of each share, each in a process of its own.

        `work` must be importable by name. `on_message` is called here for what they report. Once
        `stopping` is set, so is theirs. Raises what one of them raises, after the others have
        ended too.
        """
        futures = [self._pool.submit(_work, work, share) for share in shares]
        # The pool notices the death of a process only if one was submitted after its start (3.11).
        self._pool.submit(int)
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, _LOOK_SECONDS, FIRST_EXCEPTION)
                self._deliver(on_message)
                if stopping or any(future.exception() for future in done):
                    self._close()
        finally:
            self._close_unless_done(futures)
        self._deliver(on_message)
        try:
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise RollbookError(
                "a process that shared the work has ended",
                next_step="if it was killed for its memory, use --processes 1",
            ) from error

    def _close_unless_done(self, futures: Sequence[Future[Any]]) -> None:
        if not all(future.done() for future in futures):
            self._close()
            wait(futures)

    def _deliver(self, on_message: Callable[[Any], None]) -> None:
        while True:
            try:
                message = self._messages.get_nowait()
            except queue.Empty:
                return
            if isinstance(message, logging.LogRecord):
                logger = logging.getLogger(message.name)
                if logger.isEnabledFor(message.levelno):
                    logger.handle(message)
            else:
                on_message(message)


@contextmanager
def started_workers(settings: Settings, count: int) -> Iterator[Workers]:
    """Start so many processes; stop them at the end of the context."""
    context = get_context("spawn")
    messages: Queue[Any] = context.Queue()
    theirs, ours = context.Pipe(duplex=False)
    seed = os.environ.get(_HASH_SEED)
    if seed is None:
        os.environ[_HASH_SEED] = str(secrets.randbelow(1 << 32))
    try:
        with ProcessPoolExecutor(count, context, _begin, (settings, theirs, messages)) as pool:
            try:
                yield Workers(count, pool, messages, ours.close)
            finally:
                ours.close()
    finally:
        if seed is None:
            del os.environ[_HASH_SEED]
        theirs.close()
        messages.close()


_this: Worker | None = None


def _begin(settings: Settings, until_closed: Connection, messages: "Queue[Any]") -> None:
    global _this  # noqa: PLW0603 - what is set once in each process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started us
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger().addHandler(QueueHandler(messages))
    _this = Worker(settings, StopSignal(), messages)
    watch = threading.Thread(target=_stop_when_closed, args=(until_closed, _this.stopping))
    watch.daemon = True
    watch.start()


def _stop_when_closed(pipe: Connection, stopping: StopSignal) -> None:
    """Ask the work to stop once the process that started us closes the pipe; end if that is gone.

    The pool's own processes would wait for more work for ever: each of them can also write to the
    queue that they read, so none sees that nobody else can.
    """
    with suppress(EOFError, OSError):
        pipe.recv()
    stopping.set()
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(work: Callable[..., T], share: tuple[Any, ...]) -> T:
    assert _this is not None  # noqa: S101 - `_begin` ran before
    return work(_this, *share)
