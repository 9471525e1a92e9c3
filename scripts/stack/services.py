"""Our own processes under the supervisor: the command handler and the projectors."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

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
    text = json.dumps(
        {
            "command": command,
            "environment": dict(environment) | {MARK: str(directory)},
            "directory": str(Path.cwd()),
        }
    )
    known = specification.exists() and specification.read_text(encoding="utf-8") == text
    if known and name in supervisor.states():
        return False
    write_private(specification, text)
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
