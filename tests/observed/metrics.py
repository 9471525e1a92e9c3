"""Reads what a running process serves at `metrics_listen`."""

import json
import math
from typing import Any, TypeAlias

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.started.processes import Rollbook, RunningProcess

Labels: TypeAlias = frozenset[tuple[str, str]]
LISTENING = "metrics: listening at "
ANYWHERE = {"ROLLBOOK_METRICS_LISTEN": "127.0.0.1:0"}


class Endpoint:
    """The metrics and probes of a process that was started with `ANYWHERE` in its environment."""

    def __init__(self, process: RunningProcess) -> None:
        process.wait_for(LISTENING)
        self._url = process.text().split(LISTENING, 1)[1].split()[0]

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of an answer."""
        # To verify what has no TLS, each call would read the authorities first: 150 ms.
        answer = httpx2.get(self._url + path, timeout=60, trust_env=False, verify=False)
        return answer.status_code, answer.text

    def lacks(self) -> set[str]:
        """Return the codes of what the process lacks to be ready; none if it is."""
        status, body = self.get("/readyz")
        document: dict[str, Any] = json.loads(body)
        assert (status == 200) == ("missing" not in document), document
        return {one["code"] for one in document.get("missing", [])}

    def series(self) -> dict[str, dict[Labels, float]]:
        """Return every sample: its name → its labels → its value."""
        found: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            found.setdefault(family.name, {})
            for sample in family.samples:
                labels = frozenset(sample.labels.items())
                found.setdefault(sample.name, {})[labels] = sample.value
        return found

    def total(self, name: str) -> float:
        """Return the sum of a metric's series; not a number if it has none."""
        values = self.series().get(f"rollbook_{name}", {}).values()
        return sum(values) if values else math.nan


def start_measured(rollbook: Rollbook, *arguments: str) -> tuple[RunningProcess, Endpoint]:
    """Start a command that serves its metrics; return both."""
    rollbook.overrides |= ANYWHERE
    try:
        process = rollbook.start(*arguments)
    finally:
        for name in ANYWHERE:
            del rollbook.overrides[name]
    return process, Endpoint(process)
