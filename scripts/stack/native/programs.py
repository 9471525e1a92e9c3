"""What supervisord runs: the description of a program, as text of supervisord's configuration."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.stack.places import ServerUser

# Set in the environment of every process of a stack: it identifies them if supervisord is killed.
MARK = "ROLLBOOK_SUPERVISED_BY"


@dataclass(frozen=True, slots=True)
class Program:
    """One process that supervisord keeps running."""

    name: str
    command: list[str]
    directory: Path
    priority: int  # lower starts first and stops last
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_seconds: int = 30
    # A program that ends within this time is retried with growing pauses and given up (state
    # `fatal`) after 10 failures in a row. With 0, every end counts as an exit.
    start_seconds: int = 5
    # supervisord honours these only for a program that has started: use them with start_seconds=0.
    final_exit_codes: tuple[int, ...] = ()
    # Else it waits until it is started by name.
    starts_at_once: bool = True


def program_section(program: Program, log: Path, user: ServerUser | None) -> str:
    """Return supervisord's configuration of `program`, run as `user` or as the current user."""
    environment = ",".join(f'{n}="{quote(v)}"' for n, v in program.environment.items())
    final = ",".join(map(str, program.final_exit_codes))
    lines = {
        "command": quote(shlex.join(program.command)),
        "directory": quote(program.directory),
        "priority": program.priority,
        **({} if program.starts_at_once else {"autostart": "false"}),
        "autorestart": "unexpected" if final else "true",
        **({"exitcodes": final} if final else {}),
        # A server that others depend on may take half a minute to come back.
        "startretries": 10,
        "startsecs": program.start_seconds,
        "stopsignal": program.stop_signal,
        "stopwaitsecs": program.stop_seconds,
        # Launchers have child processes, which must not outlive them.
        "stopasgroup": "true" if program.stop_signal == "TERM" else "false",
        "killasgroup": "true",
        "stdout_logfile": quote(log),
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": 2,
        "redirect_stderr": "true",
        **({"environment": environment} if environment else {}),
        **({"user": user.name} if user else {}),
    }
    body = "".join(f"{name}={value}\n" for name, value in lines.items())
    return f"[program:{program.name}]\n{body}"


def service_script(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a shell script that sets `environment` and then execs `command`.

    supervisord's own format cannot express a value that contains both kinds of quotes.
    """
    exported = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    return "\n".join([*exported, f"exec {shlex.join(command)}", ""])


def quote(value: object) -> str:
    """Double the percent signs, which supervisord expands."""
    return str(value).replace("%", "%%")
