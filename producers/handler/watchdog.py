"""Ends a process that hangs in a call that was to return in time.

librdkafka can stay in `send_offsets_to_transaction` for ever after a broker was frozen and killed
(librdkafka#5456, #5511): the call's own timeout is never looked at, and no signal handler of Python
runs while it lasts. Ending the process is safe, since an open transaction is aborted by the next
one of its identity, and whoever supervises it starts it again.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_EXIT_FAILED = 1
_LOOK_SECONDS = 1.0


class Watchdog:
    """Watches one step at a time from a thread of its own; exits with code 1 if one hangs."""

    def __init__(self, most_seconds: float) -> None:
        self._most_seconds = most_seconds
        self._began: float | None = None
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Watch what runs within."""
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._began = None

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            began = self._began
            if began is not None and time.monotonic() - began > self._most_seconds:
                log.critical(
                    "a step of a transaction hangs for %.0f s: exiting", self._most_seconds
                )
                logging.shutdown()
                os._exit(_EXIT_FAILED)
