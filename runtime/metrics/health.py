"""Whether this process can do its work, and what it lacks.

What a process waits for is recorded where it waits. How far others are, or how far it is behind
itself, is none of it: a restore or a rebuild is no reason to send work elsewhere or to restart.
"""

import threading
from typing import Final

from runtime.metrics.failures import count_failure
from runtime.metrics.recording import VALUES, Values
from schemas.errors import RollbookError, Unavailable

START: Final = "start"


class Health:
    """What the parts of a process lack; ready once `START` and all others lack nothing.

    A part is whatever waits by itself, such as a thread. For several threads.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._lock = threading.Lock()
        starting = Unavailable("the process is starting", code="process_starting")
        self._missing: dict[str, RollbookError] = {START: starting}
        self._values.set("process_ready", 0)

    def lacks(self, error: RollbookError, part: str = "") -> None:
        """Note why a part, by default this thread, cannot continue and tries again.

        Counts a failure and a retry of the server that `error` is about.
        """
        count_failure(error, is_retried=True)
        with self._lock:
            self._missing[part or threading.current_thread().name] = error
            self._values.set("process_ready", 0)

    def works(self, part: str = "") -> None:
        """Note that a part, by default this thread, can do its work. Cheap if it could before."""
        name = part or threading.current_thread().name
        if name not in self._missing:
            return
        with self._lock:
            self._missing.pop(name, None)
            self._values.set("process_ready", not self._missing)

    @property
    def missing(self) -> dict[str, RollbookError]:
        """The parts that cannot continue, each with the reason."""
        with self._lock:
            return dict(self._missing)


# That of this process.
HEALTH: Final = Health(VALUES)
