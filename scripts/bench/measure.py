"""What a measurement is: some repeats, their median, and how far apart they lie."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some repeats with the least and the greatest."""

    median: float
    least: float
    greatest: float
    repeats: int

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`, rounded to what is worth reading."""
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 2  # noqa: PLR2004 - three figures are enough
        return (
            f"{self.median:,.{digits}f}  ({self.least:,.{digits}f} to {self.greatest:,.{digits}f},"
            f" {self.repeats} repeats)"
        )


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    return Spread(float(median(values)), float(min(values)), float(max(values)), len(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of ours over theirs, pairwise: repeats are interleaved in time."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile of at least 100 values."""
    cuts = quantiles(values, n=100)
    return cuts[49], cuts[98]
