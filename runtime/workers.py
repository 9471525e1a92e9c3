"""Processes that share the work of one command, because one Python process uses only one core.

They are spawned, since Kafka clients do not survive a fork, and hash texts alike (unless Python
runs with -E or -I), so that sums of hashes can be compared. They end when the process that started
them does, however it ends.
"""

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from typing import Any, Final, TypeVar, cast

from runtime.logs import MessageFormatter, log_uncaught_in_threads
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import RollbookError

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_PROCESSES: Final = 4
# Starting a process takes as long as one needs for some 50,000 events.
_RECORDS_FOR_EACH: Final = 100_000
_LOOK_SECONDS: Final = 0.1
_HASH_SEED: Final = "PYTHONHASHSEED"


class WorkStopped(Exception):
    """The command was asked to stop before its work was done."""


def worth_starting(records: int) -> int:
    """Return how many processes so many records are worth.

    As many as there are processors, at most four, and at most one for each 100,000 records. Quotas
    of a container are not seen.
    """
    on = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(MOST_PROCESSES, on, records // _RECORDS_FOR_EACH))


@dataclass(frozen=True, slots=True)
class Worker:
    """What a piece of work gets in its process: settings, the wish to stop, a way to report."""

    settings: Settings
    stopping: StopSignal
    messages: "SimpleQueue[Any]"

    def report(self, message: Any) -> None:
        """Send a message to the process that waits for the work."""
        self.messages.put(message)


class Workers:
    """Processes that work at the same time; see `started_workers`. Not for several threads."""

    def __init__(
        self,
        count: int,
        pool: ProcessPoolExecutor,
        messages: "SimpleQueue[Any]",
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
        """Return `work(worker, *share)` of each share, in order; as many run at once as there are.

        `work` must be importable by name. `on_message` is called here for what they report, of each
        share in order. After an error or an interrupt, the others are asked to stop and waited for.
        Raises what one of them raised, and `WorkStopped` once `stopping` is set.
        """
        futures: list[Future[T]] = []
        try:
            self._submit(work, shares, futures)
            pending = set(futures)
            while pending:
                done, pending = wait(pending, _LOOK_SECONDS, FIRST_EXCEPTION)
                self._deliver(on_message)
                if stopping or any(future.exception() for future in done):
                    self._close()
        except BrokenProcessPool:
            if not futures:
                raise _ended() from None
        finally:
            self._wait_for(futures)
        self._deliver(on_message)
        if stopping:
            raise WorkStopped
        return _results(futures)

    def _submit(
        self,
        work: Callable[..., T],
        shares: Sequence[tuple[Any, ...]],
        futures: list[Future[T]],
    ) -> None:
        # Ctrl-C is for this process: those that start now keep it blocked. `futures` is filled
        # here, so that the caller waits for them even if it comes as soon as it is let through.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            futures += [self._pool.submit(_work, work, share) for share in shares]
            # Python 3.11 watches only processes that had been started when something was submitted.
            self._pool.submit(int)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _wait_for(self, futures: Sequence[Future[Any]]) -> None:
        """Wait until all have ended, after an interrupt as well; a full queue would block them."""
        pending = {future for future in futures if not future.done()}
        if pending:
            self._close()
        while pending:
            _, pending = wait(pending, _LOOK_SECONDS)
            self._deliver(lambda _message: None)

    def _deliver(self, on_message: Callable[[Any], None]) -> None:
        while not self._messages.empty():
            message = self._messages.get()
            if isinstance(message, logging.LogRecord):
                logger = logging.getLogger(message.name)
                if logger.isEnabledFor(message.levelno):
                    logger.handle(message)
            else:
                on_message(message)


def _results(futures: Sequence[Future[T]]) -> list[T]:
    """Return all results, or raise the error that made the others stop."""
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    errors.sort(key=lambda error: isinstance(error, WorkStopped | BrokenProcessPool))
    if errors:
        raise _ended() if isinstance(errors[0], BrokenProcessPool) else errors[0]
    return [future.result() for future in futures]


def _ended() -> RollbookError:
    return RollbookError(
        "a process that shared the work has ended",
        next_step="if it was killed for its memory, use --processes 1",
    )


@contextmanager
def started_workers(settings: Settings, count: int) -> Iterator[Workers]:
    """Start so many processes once they are needed; stop them at the end of the context."""
    context = get_context("spawn")
    messages: SimpleQueue[Any] = context.SimpleQueue()
    theirs, ours = context.Pipe(duplex=False)
    level = logging.getLogger().getEffectiveLevel()
    seed = os.environ.get(_HASH_SEED)
    os.environ[_HASH_SEED] = str(secrets.randbelow(1 << 32))
    try:
        begun = (settings, theirs, messages, level)
        with ProcessPoolExecutor(count, context, _begin, begun) as pool:
            try:
                yield Workers(count, pool, messages, ours.close)
            finally:
                ours.close()
    finally:
        del os.environ[_HASH_SEED]
        if seed is not None:
            os.environ[_HASH_SEED] = seed
        theirs.close()
        messages.close()


_this: Worker | None = None


class _ToParent(QueueHandler):
    queue: Any  # a SimpleQueue, which has no `put_nowait`

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.put(record)


def _begin(
    settings: Settings, until_closed: Connection, messages: "SimpleQueue[Any]", level: int
) -> None:
    global _this  # noqa: PLW0603 - what is set once in each process
    handler = _ToParent(cast("Any", messages))
    handler.setFormatter(MessageFormatter())
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(level)
    log_uncaught_in_threads()
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
    try:
        return work(_this, *share)
    except (RollbookError, WorkStopped):
        raise
    except Exception as error:
        log.exception("the work failed")
        # Without its cause, which might not be fit to be sent, or to be shown.
        failed = f"a process that shared the work failed: {type(error).__name__}"
        raise RollbookError(failed, next_step="please report it") from None
