"""Ends the process when a call that should return in time hangs.

librdkafka can hang in `send_offsets_to_transaction` for ever after a broker was frozen and killed
(librdkafka#5456, #5511): it ignores the call's timeout, and no signal handler of Python runs
meanwhile. Ending the process is safe: an open transaction is aborted by the next process with its
identity, and the supervisor starts that one.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_EXIT_FAILED = 1
_CHECK_SECONDS = 1.0


class Watchdog:
    """Watches one step at a time from its own thread; exits with code 1 if one hangs."""

    def __init__(self, most_seconds: float) -> None:
        self._most_seconds = most_seconds
        self._began: float | None = None
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Watch the code inside the `with` block."""
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._began = None

    def _watch(self) -> None:
        while True:
            time.sleep(_CHECK_SECONDS)
            began = self._began
            if began is not None and time.monotonic() - began > self._most_seconds:
                log.critical(
                    "a step of a transaction has hung for %.0f s: exiting", self._most_seconds
                )
                logging.shutdown()
                os._exit(_EXIT_FAILED)
