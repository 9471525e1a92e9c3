"""Our own processes under the supervisor: the command handler and the projectors."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.stack import paced
from scripts.stack.record import write_private
from scripts.stack.supervise import MARK, Program, Supervisor

# The exit code for usage and configuration: trying again would end the same way.
_MISCONFIGURED = 2


def add_service(
    supervisor: Supervisor,
    directory: Path,
    name: str,
    command: list[str],
    environment: Mapping[str, str],
) -> bool:
    """Make the service known to the supervisor, replacing one of its name; start nothing.

    False, and nothing happens, if the same service is known already. Its environment may hold
    secrets, so it goes into a file that only its owner may read.
    """
    specification = directory / "services" / f"{name}.json"
    service = {
        "command": command,
        "environment": dict(environment) | {MARK: str(directory)},
        "directory": str(Path.cwd()),
    }
    known = json.loads(specification.read_text("utf-8")) if specification.exists() else {}
    if name in supervisor.states() and is_same(known, service):
        return False
    write_private(specification, json.dumps(service))
    specification.with_suffix(".starts").unlink(missing_ok=True)
    program = Program(
        name,
        # -I and -S: nothing of the environment or the packages is needed, and it starts at once.
        [sys.executable, "-I", "-S", str(Path(paced.__file__)), str(specification)],
        directory=directory,
        priority=900,
        stop_seconds=20,
        start_seconds=0,  # the pause between starts is paced's
        final_exit_codes=(_MISCONFIGURED,),
    )
    supervisor.add(program, None)
    return True


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Say whether two specifications run the same command with the same settings.

    Where and in which shell `up` was typed makes no difference.
    """

    def what_counts(service: Mapping[str, Any]) -> tuple[Any, dict[str, str]]:
        environment = service.get("environment", {}).items()
        settings = {n: v for n, v in environment if n.startswith("ROLLBOOK_")}
        return service.get("command"), settings

    return what_counts(one) == what_counts(other)
