"""The values of this process's metrics, in a form that recording costs almost nothing.

prometheus-client's own counters and histograms take one observation at a time, cannot replace all
series of a gauge in one step, and work across processes only through files (docs/decisions/0029).
So the values are kept here, and prometheus-client writes them out.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Final, TypeAlias

from runtime.metrics.table import BY_NAME, LABEL_VALUES, METRICS, Metric

# The values of a metric's labels, in their order.
Labels: TypeAlias = tuple[str, ...]


class Buckets:
    """One series of a histogram: how many observations fell into each bucket, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int) -> None:
        """Count `value`, which stands for `times` equal ones."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Values:
    """Values by metric and labels. For several threads; no call blocks for long.

    A name that is not in the table, or a wrong number of labels, is an error of the caller.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, Buckets]] = {}
        for metric in METRICS:
            if metric.kind == "histogram":
                self._histograms[metric.name] = {}
            else:
                self._numbers[metric.name] = dict.fromkeys(_known(metric), 0.0)

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Add to a counter, or to a gauge that counts up and down."""
        series = self._numbers[name]
        with self._lock:
            series[labels] = series.get(labels, 0.0) + by

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set one series."""
        with self._lock:
            self._numbers[name][labels] = value

    def replace(self, name: str, values: Mapping[Labels, float]) -> None:
        """Set all series of a gauge, and remove the others."""
        with self._lock:
            self._numbers[name] = dict(values)

    def discard(self, name: str, *labels: str) -> None:
        """Remove one series, whose value is not known."""
        with self._lock:
            self._numbers[name].pop(labels, None)

    def observe(self, name: str, value: float, *labels: str, times: int = 1) -> None:
        """Count an observation, which stands for `times` equal ones."""
        with self._lock:
            series = self._histograms[name].get(labels)
            if series is None:
                series = self._histograms[name][labels] = Buckets(BY_NAME[name].buckets)
            series.observe(value, times)

    def remove(self, *labels: str) -> None:
        """Remove every series whose labels begin with `labels`, as of a version that was dropped.

        Only series of metrics with more labels, or the same number, are meant.
        """
        with self._lock:
            for numbers in self._numbers.values():
                for one in [one for one in numbers if one[: len(labels)] == labels]:
                    del numbers[one]
            for histograms in self._histograms.values():
                for one in [one for one in histograms if one[: len(labels)] == labels]:
                    del histograms[one]

    def numbers(self, name: str) -> dict[Labels, float]:
        """Return a copy of the series of a counter or gauge."""
        with self._lock:
            return dict(self._numbers[name])

    def histograms(self, name: str) -> Iterator[tuple[Labels, tuple[int, ...], float]]:
        """Yield the labels, the counts by bucket and the sum of each series of a histogram."""
        with self._lock:
            found = [(one, tuple(b.counts), b.total) for one, b in self._histograms[name].items()]
        yield from found


def _known(metric: Metric) -> Iterator[Labels]:
    """Yield the labels with which a counter begins at 0; none if they are not all known."""
    if metric.kind == "counter" and all(label in LABEL_VALUES for label in metric.labels):
        yield from product(*(LABEL_VALUES[label] for label in metric.labels))


# Those of this process.
VALUES: Final = Values()
