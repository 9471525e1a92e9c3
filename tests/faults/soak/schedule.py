"""Which faults a soak injects and when: the same ones in every soak."""

from collections.abc import Iterator
from itertools import cycle
from typing import Final

from tests.faults.nemesis.plan import Step

# Each process and each server once, in the first third; whatever lives then is measured to the end.
_EARLY: Final = (
    ("handler killed", "a"),
    ("service killed", "commands"),
    ("service killed", "queries"),
    ("projector killed", "postgres projector"),
    ("projector killed", "elasticsearch projector"),
    ("projector killed", "history projector"),
    ("registry killed", "registry"),
    ("PostgreSQL killed", "postgres"),
    ("Elasticsearch killed", "elasticsearch"),
    ("broker killed", "kafka"),
)
# In turn until the end. Only handler b and the history projector die any more.
_LATER: Final = (
    ("handler killed", "b"),
    ("PostgreSQL's connections cut", "postgres"),
    ("answer of the broker lost", "a"),
    ("handler frozen", "a"),
    ("projector killed", "history projector"),
    ("broker frozen", "kafka"),
    ("partitions rebalanced", "group"),
    ("Elasticsearch frozen", "elasticsearch"),
    ("handler killed at a point", "b"),
    ("request of a transaction late", "a"),
    ("projector frozen", "postgres projector"),
    ("PostgreSQL read-only", "postgres"),
    ("rebuild killed", "rebuild"),
)
_MOST_SECONDS: Final = 60.0
_HELD_SECONDS: Final = 3.0


def schedule(seconds: float) -> Iterator[tuple[float, Step]]:
    """Yield the faults of a soak of so many seconds, each with the time at which it begins."""
    early = seconds / 3
    every = min(_MOST_SECONDS, early / (len(_EARLY) + 1))
    later = cycle(_LATER)
    number = 1
    while (begins := number * every) < seconds - every / 2:
        fault, target = _EARLY[number - 1] if number <= len(_EARLY) else next(later)
        yield begins, Step(fault, target, 0.0, _HELD_SECONDS, number)
        number += 1
