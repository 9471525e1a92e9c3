"""Our own processes on a local stack: topics, command handler and projectors, and their state."""

import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.settings import Settings, load_settings
from schemas.errors import RollbookError, Unavailable
from scripts.stack.local import LocalStack
from scripts.stack.maven import last_lines
from scripts.stack.places import Report

SERVICES = {
    "handler": ["handler", "run", "--instance", "local-1"],
    "projector-postgres": ["projector", "run", "postgres"],
    "projector-history": ["projector", "run", "history"],
    "projector-elasticsearch": ["projector", "run", "elasticsearch"],
}

# A misconfigured service reports that and ends within this time.
_SETTLED_SECONDS = 2.0


def start_services(stack: LocalStack, report: Report) -> None:
    """Create the topics, then run handler and projectors under the stack's supervisor.

    Services get this process's `ROLLBOOK_*` variables, the prefix among them. Raises `Unavailable`,
    with the last lines of its log, if a service ends at once.
    """
    from runtime.registry import Registry
    from runtime.topic_admin import ensure_topics

    settings = _settings(stack)
    ensure_topics(settings)
    Registry(settings).ensure()
    report("topics and schemas exist")
    beside = Path(sys.executable).with_name("rollbook")
    rollbook = str(beside) if beside.exists() else shutil.which("rollbook") or "rollbook"
    for name, arguments in SERVICES.items():
        stack.add_service(name, [rollbook, *arguments])
    until = time.monotonic() + _SETTLED_SECONDS
    while time.monotonic() < until:
        time.sleep(0.1)
        for service in stack.services().values():
            if service.state == "exited":
                raise Unavailable(
                    f"{service.name} ended; its log {service.log} ends with:\n"
                    + last_lines(Path(service.log)),
                    code="service_failed",
                    next_step=f"fix the cause, then `rollbook up`; the whole log: {service.log}",
                )
    report(f"running {', '.join(SERVICES)}")


def projector_status(stack: LocalStack) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of `rollbook projector status --json`, and why some are missing, or ''."""
    from projectors.log.times import iso_time
    from projectors.versions.status import read_status

    try:
        found = read_status(_settings(stack))
    except RollbookError as error:
        return [], str(error)
    rows = [asdict(partition) for partition in found.partitions]
    for row in rows:
        row["applied_at"] = None if row["applied_at"] is None else iso_time(row["applied_at"])
    # Two read models on one server report the same error.
    return rows, "; ".join({str(error): "" for error in found.unavailable.values()})


def _settings(stack: LocalStack) -> Settings:
    return load_settings(config=str(stack.config_file)).settings
