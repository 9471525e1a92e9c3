"""The time of a simulated run: it passes when the run says so, and each process has a clock."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

BEGIN_MS = 1_790_000_000_000


class VirtualTime:
    """Stands for the module `time` in the code under test.

    `now_ms` is the true time. The process that runs now reads a clock that is `skew_ms` ahead of
    it; intervals do not depend on that clock.
    """

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS
        self.skew_ms = 0

    def time_ns(self) -> int:
        return (self.now_ms + self.skew_ms) * 1_000_000

    def monotonic(self) -> float:
        return (self.now_ms - BEGIN_MS) / 1000

    def sleep(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000) + 1


class BrokerTime:
    """The same time as a broker's clock shows it."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time

    def time_ns(self) -> int:
        return self._time.now_ms * 1_000_000


# An object, the name of its attribute, and what replaces it.
Replacement = tuple[Any, str, Any]


@contextmanager
def replaced(replacements: Sequence[Replacement]) -> Iterator[None]:
    """Replace attributes of modules and classes in the `with` block."""
    before = [(where, name, vars(where)[name]) for where, name, _ in replacements]
    try:
        for where, name, value in replacements:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in reversed(before):
            setattr(where, name, value)
