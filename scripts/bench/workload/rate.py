"""The rate at which a store is filled, seen from outside and measured in the same way for all.

Starting up, joining a group and finding the first records are not measured: the clock runs from a
tenth of the records to all of them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from schemas.errors import CheckFailed

_FROM_SHARE = 0.1
_LEAST_PAUSE_SECONDS = 0.02
_MOST_PAUSE_SECONDS = 2.0
# Counting slows down what is measured: it is done once per quarter of the time that remains.
_PAUSE_SHARE = 0.25
_PATIENCE_SECONDS = 60.0
# A Kafka Connect worker takes ten seconds to start, and a minute on a busy machine.
_START_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The number of records at the time `at`, in seconds."""

    count: int
    at: float


def rate_between(first: Seen, last: Seen) -> float:
    """Return records per second. Raises `CheckFailed` if nothing was left to measure."""
    if last.count <= first.count:
        raise CheckFailed("all users had arrived before the first count: measure more users")
    return (last.count - first.count) / (last.at - first.at)


def filling_rate(count: Callable[[], int], total: int, alive: Callable[[], bool]) -> float:
    """Return the records per second at which a store goes from a tenth of `total` to all.

    Raises `CheckFailed` if the process that fills it ends early, adds nothing for a minute, or
    does not begin within five.
    """
    first: Seen | None = None
    moved = Seen(0, time.perf_counter())
    while True:
        seen = Seen(count(), time.perf_counter())
        moved = seen if seen.count != moved.count else moved
        if first is None and seen.count >= total * _FROM_SHARE:
            first = seen
        if first is not None and seen.count >= total:
            return rate_between(first, seen)
        patience_seconds = _PATIENCE_SECONDS if seen.count else _START_PATIENCE_SECONDS
        if seen.at - moved.at > patience_seconds or not alive():
            raise CheckFailed(f"{seen.count:,} of {total:,} users arrived, then no more")
        time.sleep(_pause_seconds(first, seen, total))


def _pause_seconds(first: Seen | None, seen: Seen, total: int) -> float:
    if first is None or seen.count == first.count:
        return _LEAST_PAUSE_SECONDS
    left_seconds = (total - seen.count) / rate_between(first, seen)
    return min(_MOST_PAUSE_SECONDS, max(_LEAST_PAUSE_SECONDS, left_seconds * _PAUSE_SHARE))
