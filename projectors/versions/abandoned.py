"""Drops versions that a rebuild left behind when it was killed.

Nothing keeps such a version up to date, so an erasure never reaches it: it would keep the user's
data until the next rebuild. A rebuild that is running is not disturbed: it holds the rebuild lock
for as long as its version is being built.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from projectors.contract.read_model import BUILDING, ReadModelVersions, Version

log = logging.getLogger(__name__)

# How long a version must have been seen in state `building` before the lock is looked at. A killed
# rebuild loses the lock after the session timeout.
LOOK_AFTER_SECONDS: Final = 30.0


class AbandonedVersions:
    """Finds and drops the abandoned versions of one read model; call `drop` often.

    `is_rebuilding` returns whether any process holds, or waits for, the rebuild lock.
    """

    def __init__(
        self,
        versions: ReadModelVersions,
        is_rebuilding: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._versions = versions
        self._is_rebuilding = is_rebuilding
        self._clock = clock
        self._first_seen: dict[int, float] = {}

    def drop(self, listed: Sequence[Version]) -> None:
        """Drop what is abandoned of the versions `listed`. Raises `Unavailable`."""
        now, seen = self._clock(), self._first_seen
        self._first_seen = {n: seen.get(n, now) for n in _building(listed)}
        due = {n for n, first in self._first_seen.items() if now - first >= LOOK_AFTER_SECONDS}
        if not due:
            return
        self._first_seen = dict.fromkeys(self._first_seen, now)  # when to look again
        if self._is_rebuilding():
            return
        # Listed again: the rebuild may have finished one and released the lock since.
        for number in sorted(due & _building(self._versions.versions())):
            self._versions.drop(number)
            log.warning(
                "dropped version %d of %s: its rebuild ended before it was complete",
                number,
                self._versions.name,
                extra={"version": number},
            )


def _building(listed: Sequence[Version]) -> set[int]:
    return {version.number for version in listed if version.state == BUILDING}
