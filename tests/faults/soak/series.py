"""What is measured during a soak, and the criterion by which a series of it counts as flat.

The first third of a soak is left out: every process and every server is killed once in it, and
afterwards fills its caches. The last third is compared with the middle one, by medians: a fault
makes a few extreme values in each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

# With fewer in a third, nothing is shown.
FEWEST_VALUES: Final = 5


@dataclass(frozen=True, slots=True)
class Measure:
    """A quantity with what its series may gain from the middle third to the last.

    The limit is `share` of the middle third's level, or `least` if that is more. A series that
    `accumulates`, such as the files of a log, gains with every command; of it, the gain *within*
    the last third is compared with the gain within the middle one, which has as many commands.
    """

    title: str
    share: float
    least: float
    accumulates: bool = False


MEASURES: Final[Mapping[str, Measure]] = {
    "memory": Measure("private memory, MiB", 0.05, 4),
    "files": Measure("open files", 0.1, 4),
    "threads": Measure("threads", 0.1, 2),
    "connections": Measure("TCP connections", 0.1, 4),
    "lag": Measure("records behind", 0.5, 200),
    "disk": Measure("files of data, MiB", 0.5, 48, accumulates=True),
}


@dataclass(slots=True)
class Series:
    """Values of one measure of one process; `times` are seconds since the load began."""

    measure: str
    process: str
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, time: float, value: float) -> None:
        """Add a value that is later than all others."""
        self.times.append(time)
        self.values.append(value)

    def between(self, first: float, last: float) -> list[float]:
        """Return the values with `first` ≤ time < `last`."""
        return [v for t, v in zip(self.times, self.values, strict=True) if first <= t < last]

    def thinned(self, seconds: float, points: int) -> "Series":
        """Return medians of at most `points` equal parts of a soak of so many seconds."""
        thin, part = Series(self.measure, self.process), seconds / points
        for number in range(points):
            if found := self.between(number * part, (number + 1) * part):
                thin.add(round((number + 0.5) * part, 1), round(median(found), 2))
        return thin


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a series is flat: it is if `gain` ≤ `limit`.

    `middle` and `last` are the levels of the two thirds, or the gains within them if the measure
    accumulates. All are None if a third has too few values, and then it is not flat.
    """

    measure: str
    process: str
    middle: float | None = None
    last: float | None = None
    limit: float | None = None

    @property
    def gain(self) -> float | None:
        """Return by how much the last third is above the middle one."""
        return None if self.last is None or self.middle is None else self.last - self.middle

    @property
    def is_flat(self) -> bool:
        """Return whether it gained no more than it may."""
        return self.gain is not None and self.limit is not None and self.gain <= self.limit


def judge(series: Series, seconds: float) -> Verdict:
    """Return whether a series of a soak of so many seconds is flat."""
    measure = MEASURES[series.measure]
    thirds = [series.between(n * seconds / 3, (n + 1) * seconds / 3) for n in (1, 2)]
    if any(len(values) < FEWEST_VALUES for values in thirds):
        return Verdict(series.measure, series.process)
    level = _gain_within if measure.accumulates else median
    middle, last = (level(values) for values in thirds)
    limit = max(measure.share * middle, measure.least)
    return Verdict(series.measure, series.process, middle, last, limit)


def _gain_within(values: Sequence[float]) -> float:
    """Return the gain from the beginning to the end, by medians of a fifth of the values each."""
    some = max(1, len(values) // 5)
    return median(values[-some:]) - median(values[:some])
