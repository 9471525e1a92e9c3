"""Writes metrics in the formats of Prometheus and OpenMetrics; merges those of processes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from runtime.metrics.recording import Values
from runtime.metrics.table import BY_NAME, METRICS, PREFIX, Metric

# The library's own metrics of a process, such as process_cpu_seconds_total: all but these add up.
_EARLIEST: Final = "process_start_time_seconds"


def families(values: Values, kind: str) -> list[Family]:
    """Return every metric that processes of a kind serve, even without any series."""
    return [_family(metric, values) for metric in METRICS if kind in metric.served_by]


def merged(by_process: Sequence[Iterable[Family]]) -> list[Family]:
    """Return one family for each name: counters and histograms added, gauges as the table says."""
    found: dict[str, Family] = {}
    samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], Sample]] = {}
    for process in by_process:
        for family in process:
            found.setdefault(family.name, family)
            merging = samples.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                other = merging.get(key)
                value = sample.value if other is None else _both(other, sample)
                merging[key] = sample._replace(value=value)
    for name, family in found.items():
        family.samples = list(samples[name].values())
    return list(found.values())


def _both(one: Sample, other: Sample) -> float:
    metric = BY_NAME.get(one.name.removeprefix(PREFIX))
    across = "min" if one.name == _EARLIEST else metric.across if metric else "sum"
    if across == "sum":
        return one.value + other.value
    return max(one.value, other.value) if across == "max" else min(one.value, other.value)


def render(found: Iterable[Family], accept: str) -> tuple[bytes, str]:
    """Return the text and its media type, in the format that the header `Accept` asks for."""
    registry = CollectorRegistry()
    registry.register(_Found(found))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Found(Collector):
    """Families that were collected before."""

    def __init__(self, found: Iterable[Family]) -> None:
        self._found = found

    def describe(self) -> Iterator[Family]:
        """Nothing: names cannot collide in a registry of its own."""
        return iter(())

    def collect(self) -> Iterable[Family]:
        """Return the families."""
        return self._found


def _family(metric: Metric, values: Values) -> Family:
    name, text, labels = metric.full_name, metric.explanation, metric.labels
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, text, labels=labels)
        bounds = [*map(str, metric.buckets), "+Inf"]
        for one, counts, total in values.histograms(metric.name):
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            histogram.add_metric(one, buckets, total)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(name, text, labels=labels)
    for one, value in values.numbers(metric.name).items():
        family.add_metric(one, value)
    return family
