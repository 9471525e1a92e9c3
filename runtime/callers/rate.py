"""How often something may happen: a token bucket per name, in the memory of one process."""

import time
from collections import OrderedDict
from typing import Final

_MOST_NAMES: Final = 10_000


class RateLimit:
    """Allows each name `per_second` on average, and as many at once as come up in `burst_seconds`.

    At least one is always allowed at once. Each process counts for itself.
    """

    def __init__(self, burst_seconds: float = 2.0) -> None:
        self._burst_seconds = burst_seconds
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def seconds_until_allowed(self, name: str, per_second: float) -> float:
        """Count one for `name` and return 0, or return how long to wait and count nothing."""
        now = time.monotonic()
        # The time at which the bucket would be full again.
        full_at = max(self._free_at.get(name, now), now)
        gap = 1 / per_second
        wait = full_at + gap - now - max(self._burst_seconds, gap)
        if wait > 0:
            return wait
        self._free_at[name] = full_at + gap
        self._free_at.move_to_end(name)
        if len(self._free_at) > _MOST_NAMES:
            self._free_at.popitem(last=False)
        return 0.0
