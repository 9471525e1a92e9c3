"""What long-running processes share: signals, retry pauses, and the lock per instance."""

import fcntl
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from runtime.configuration.files import state_home
from runtime.metrics.health import HEALTH
from runtime.settings import Settings
from schemas.errors import Forbidden, Misconfigured, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")


class StopSignal:
    """A flag that SIGTERM and SIGINT set; the same signal again ends the process at once."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def install(self) -> "StopSignal":
        """Install the signal handlers; only the main thread may do that."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        self._event.set()

    def set(self) -> None:
        """Ask the process to stop, as a signal would."""
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep until asked to stop, at most `seconds`; return whether asked."""
        return self._event.wait(seconds)


# A permission returns when somebody grants it. Trying more often would only fill logs, and some
# servers lock an account after many failed logins.
FORBIDDEN_RETRY_SECONDS = 30.0


class Reminder:
    """Says when to log a denied access that goes on: at once, and then every 30 s for each text."""

    def __init__(self) -> None:
        self._due_at: dict[str, float] = {}

    def is_due(self, text: str = "") -> bool:
        """Return whether it is time to log `text`, and count it as logged."""
        now = time.monotonic()
        if now < self._due_at.get(text, 0.0):
            return False
        self._due_at[text] = now + FORBIDDEN_RETRY_SECONDS
        return True


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end a command as Ctrl-C does: it cleans up and reports.

    Signals that are ignored, as under nohup, stay ignored.
    """
    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


class Backoff:
    """Growing pauses with jitter, so that many processes do not retry at the same moment."""

    def __init__(self, first_seconds: float = 0.1, most_seconds: float = 10.0) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._next_seconds = first_seconds

    def next_seconds(self) -> float:
        """Return the next pause: it doubles up to `most_seconds`, with a jitter of ± 20 %."""
        seconds = self._next_seconds
        self._next_seconds = min(2 * seconds, self._most_seconds)
        return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not cryptography

    def after(self, error: Unavailable | Forbidden) -> float:
        """Return the next pause, or 30 s if a server denied access."""
        if isinstance(error, Forbidden):
            return FORBIDDEN_RETRY_SECONDS
        return self.next_seconds()

    def reset(self) -> None:
        """Start again with the shortest pause, after the server has answered."""
        self._next_seconds = self._first_seconds


@contextmanager
def only_instance(settings: Settings, name: str) -> Iterator[IO[str]]:
    """Hold the lock file of `name`: two processes with one identity would fence each other.

    The lock ends with the process, even if it is killed. Raises `Misconfigured` if another process
    holds it, or if this one may not write the file.
    """
    directory = Path(settings.state_directory) if settings.state_directory else state_home()
    path = directory / f"{settings.named(name)}.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        opened = path.open("w", encoding="utf-8")
    except OSError as error:
        raise Misconfigured(
            f"cannot write the lock file {path}: {error.strerror}",
            code="cannot_lock",
            next_step="set state_directory to a folder that this user may write to",
        ) from None
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misconfigured(
                f"{name} is already running on this machine: {path} is locked",
                code="already_running",
                next_step="stop the other one, or give this one another name",
            ) from None
        yield lock


def until_available(
    stop: StopSignal, step: Callable[[], T], *, ends_if_denied: bool = False
) -> T | None:
    """Return the result of `step`; None if asked to stop.

    It is retried while a server is unavailable, or denies access unless `ends_if_denied`; the
    process is not ready meanwhile.
    """
    backoff = Backoff()
    while not stop:
        try:
            found = step()
        except (Unavailable, Forbidden) as error:
            if ends_if_denied and isinstance(error, Forbidden):
                raise
            HEALTH.lacks(error)
            seconds = backoff.after(error)
            log.warning("%s; trying again in %.1f s", error, seconds)
            stop.wait(seconds)
        else:
            HEALTH.works()
            return found
    return None
