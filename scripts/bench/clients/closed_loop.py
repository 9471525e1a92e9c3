"""What a client in a closed loop measures: how many answers it gets, and how long each takes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from scripts.bench.report.measure import percentiles

# What each client asks, one after the other: first it creates users, then it renames them.
KINDS: Final = ("create", "update")


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which answers count, on the clock of `time.perf_counter`."""

    begins: float
    ends: float

    @classmethod
    def after(cls, warm_up_seconds: float, seconds: float) -> "Window":
        """Return one that begins after `warm_up_seconds` and lasts for `seconds`."""
        begins = time.perf_counter() + warm_up_seconds
        return cls(begins, begins + seconds)


@dataclass(slots=True)
class Answers:
    """The milliseconds of each answer that arrived within a window; threads may share one."""

    window: Window
    milliseconds: list[float] = field(default_factory=list)

    def is_open(self) -> bool:
        """Return whether a client goes on."""
        return time.perf_counter() < self.window.ends

    def take(self, asked_at: float) -> None:
        """Note an answer that has just arrived."""
        now = time.perf_counter()
        if self.window.begins <= now < self.window.ends:
            self.milliseconds.append((now - asked_at) * 1000)


@dataclass(frozen=True, slots=True)
class Seen:
    """What all clients of a run saw: answers per second, and milliseconds of an answer."""

    per_second: float
    p50_ms: float
    p99_ms: float


def seen(milliseconds: Sequence[float], seconds: float) -> Seen:
    """Return what clients saw in a window of `seconds`; at least 2 answers."""
    p50, p99 = percentiles(milliseconds)
    return Seen(len(milliseconds) / seconds, p50, p99)
