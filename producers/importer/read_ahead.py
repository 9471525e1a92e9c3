"""Reads a pipe in a thread, so that what it has delivered is sent without waiting for more."""

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Queue
from typing import Final, TypeVar

T = TypeVar("T")

_MOST_WAITING: Final = 4_000
_WAIT_SECONDS: Final = 0.02


def read_ahead(lines: Iterable[T]) -> Iterator[T | None]:
    """Yield `lines`; None whenever none arrived for 20 ms. Raises what reading them raises.

    At most 4,000 lines are in memory. The thread ends with the lines or with the process.
    """
    waiting: Queue[T] = Queue(_MOST_WAITING)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for line in lines:
                waiting.put(line)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that iterates
            failures.append(error)

    # A daemon: a pipe that delivers nothing more must not keep an interrupted process alive.
    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    while True:
        has_ended = not thread.is_alive()  # before the queue is looked at: what it put is there
        try:
            yield waiting.get(timeout=_WAIT_SECONDS)
        except Empty:
            if has_ended:
                break
            yield None
    if failures:
        raise failures[0]
