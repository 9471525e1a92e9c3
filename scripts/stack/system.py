"""The whole system on a local stack: topics, command handler, projectors, and how far they are."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from schemas.errors import RollbookError, Unavailable
from scripts.stack.fetch import last_lines
from scripts.stack.local import LocalStack, Report

SERVICES = {
    "handler": ["handler", "run", "--instance", "local-1"],
    "projector-postgres": ["projector", "run", "postgres"],
    "projector-history": ["projector", "run", "history"],
    "projector-elasticsearch": ["projector", "run", "elasticsearch"],
}

# A service that is misconfigured says so and ends within this time.
_SETTLED_SECONDS = 2.0
_COMMAND_TIMEOUT_SECONDS = 60


def rollbook_command() -> str:
    """Return the path of the `rollbook` command of this very installation."""
    beside = Path(sys.executable).with_name("rollbook")
    return str(beside) if beside.exists() else shutil.which("rollbook") or "rollbook"


def start_services(stack: LocalStack, report: Report) -> None:
    """Make the topics, then run handler and projectors under the stack's supervisor.

    Services get this process's `ROLLBOOK_*` variables, the prefix among them. Raises `Unavailable`,
    with the last lines of its log, if one ends at once for good.
    """
    run_rollbook(stack, "topics", "ensure", "--json")
    report("topics and schemas are there")
    for name, arguments in SERVICES.items():
        stack.add_service(name, [rollbook_command(), *arguments])
    until = time.monotonic() + _SETTLED_SECONDS
    while time.monotonic() < until:
        time.sleep(0.1)
        for service in stack.services().values():
            if service.state == "exited":
                raise Unavailable(
                    f"{service.name} ended; its log {service.log} ends with:\n"
                    + last_lines(Path(service.log)),
                    code="service_failed",
                    next_step=f"mend the cause, then `rollbook up`; the whole log: {service.log}",
                )
    report(f"running {', '.join(SERVICES)}")


def run_rollbook(stack: LocalStack, *arguments: str) -> str:
    """Run `rollbook …` against the stack; return what it printed. Raises its error if it fails."""
    done = subprocess.run(
        [rollbook_command(), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMMAND_TIMEOUT_SECONDS,
        env=dict(os.environ) | {"ROLLBOOK_CONFIG": str(stack.config_file)},
    )
    if done.returncode != 0:
        raise _error(" ".join(arguments), done.stderr)
    return done.stdout


def projector_status(stack: LocalStack) -> tuple[list[dict[str, Any]], str]:
    """Return what `rollbook projector status --json` prints, or nothing and why it cannot."""
    try:
        printed = run_rollbook(stack, "projector", "status", "--json")
    except (RollbookError, OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")], ""


def _error(command: str, stderr: str) -> RollbookError:
    lines = stderr.strip().splitlines()
    try:
        told = json.loads(lines[-1])["error"]
    except (IndexError, ValueError, KeyError, TypeError):
        what = " ".join(lines[-3:]) or "it said nothing"
        return RollbookError(f"rollbook {command} failed: {what}", code="command_failed")
    return Unavailable(told["message"], code=told["code"], next_step=told["next"])
