"""What a PromQL expression reads, compared with the metrics that rollbook serves."""

import re

from runtime.metrics.table import BY_NAME, METRICS, PREFIX

# Those of Prometheus itself, of its library for processes, and of node_exporter.
OTHERS = re.compile(
    r"up|ALERTS|process_(start_time_seconds|cpu_seconds_total|resident_memory_bytes)"
    r"|node_filesystem_(avail_bytes|size_bytes|readonly)"
)
LABELS = {label for metric in METRICS for label in metric.labels} | {
    *("job", "instance", "process", "le"),
    *("alertname", "alertstate", "severity", "mountpoint"),
}
_NAMES = re.compile(r"\b(?:rollbook|process|node)[_:][\w:]+")
_LABELS_OF = re.compile(r"(?:by|on|ignoring|without) \(([^)]*)\)")
_MATCHERS = re.compile(r"\{([^}]*)\}")


def metrics_of(expression: str) -> set[str]:
    """Return the names of metrics in an expression, without the values of its matchers."""
    return set(_NAMES.findall(re.sub(r'"[^"]*"', '""', expression)))


def unknown_metrics(expression: str, recorded: set[str]) -> set[str]:
    """Return the metrics of an expression that nothing serves or records."""
    return {
        name
        for name in metrics_of(expression)
        if not (name in recorded or OTHERS.fullmatch(name) or _is_served(name))
    }


def base_name(name: str) -> str:
    """Return the table's name of a series, which for a histogram has a suffix."""
    short = name.removeprefix(PREFIX)
    series = re.sub(r"_(bucket|sum|count)$", "", short)
    return series if series in BY_NAME and BY_NAME[series].kind == "histogram" else short


def unknown_labels(expression: str) -> set[str]:
    """Return the labels of an expression that no series has."""
    without_values = re.sub(r'"[^"]*"', '""', expression)
    named = ",".join(_LABELS_OF.findall(without_values)).split(",")
    matched = re.findall(r"(\w+)\s*[!=]", ",".join(_MATCHERS.findall(without_values)))
    return {name.strip() for name in (*named, *matched) if name.strip()} - LABELS


def _is_served(name: str) -> bool:
    return name.startswith(PREFIX) and base_name(name) in BY_NAME
