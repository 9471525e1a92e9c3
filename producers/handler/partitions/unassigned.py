"""Notices that the group has assigned partitions to no handler, so that nobody decides them.

In a cooperative rebalance a partition that is to move is at first assigned to nobody: its owner
gives it up and joins again, which begins the rebalance that assigns it. If the owner dies in
between and returns within its session, it gets what it was assigned last, as a static member, and
no rebalance begins. So a member that has joined looks twice, and stays away for a session if
partitions are missing both times: the end of the session begins a rebalance.
"""

import logging
import math
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

# Brokers end a session a little late.
_SPARE_SECONDS = 1.0


class UnassignedPartitions:
    """Looks a session after each `joined`, and again a session later while partitions are missing.

    `unassigned` returns the partitions that no member of the group is assigned, or None if that is
    not known yet.
    """

    def __init__(self, unassigned: Callable[[], set[int] | None], session_seconds: float) -> None:
        self._unassigned = unassigned
        self._session_seconds = session_seconds
        self.leave_seconds = session_seconds + _SPARE_SECONDS
        self.joined()

    def joined(self) -> None:
        """Note that this member has joined the group or is joining it."""
        self._check_at = time.monotonic() + self._session_seconds
        self._missing: set[int] = set()

    def must_leave(self) -> bool:
        """Return whether to leave the group for `leave_seconds`; asks brokers only when due."""
        if time.monotonic() < self._check_at:
            return False
        found = self._unassigned()
        self._check_at = math.inf if found == set() else time.monotonic() + self._session_seconds
        if found is None:
            return False
        # The first time, a member may be about to give partitions up.
        lost = sorted(self._missing & found)
        self._missing = found
        if lost:
            log.warning(
                "the group has assigned partitions %s to no handler: leaving it for %.0f s, so "
                "that it assigns them",
                *(lost, self.leave_seconds),
            )
        return bool(lost)
