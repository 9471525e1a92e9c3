"""`verify` as an operation that the query service runs as a job."""

from collections.abc import Callable, Mapping
from typing import Any

from runtime.settings import Settings
from scripts.verify.run import run_checks


def verify(
    settings: Settings, asked: Mapping[str, Any], emit: Callable[[Mapping[str, Any]], None]
) -> Mapping[str, Any]:
    """Check everything; each check is a line, as `rollbook verify --json` prints it."""
    total = violated = 0
    for check in run_checks(settings, timeout_seconds=asked["timeout"], log_only=asked["log_only"]):
        total += 1
        violated += not check.holds
        emit({"text": check.line(), **check.as_json()})
    return {"holds": not violated, "checks": total, "violated": violated}
