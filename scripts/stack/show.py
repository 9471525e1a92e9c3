"""Prints the state of a stack, as tables or as JSON."""

from dataclasses import asdict
from typing import Any

from runtime.terminal import EXIT_UNAVAILABLE, print_json, print_table, say
from scripts.stack.places import HOST, named_directory
from scripts.stack.record import ProcessStatus, Started


def print_started(mode: str, name: str | None, started: Started, *, as_json: bool) -> None:
    """Print what `up` did, and the addresses of the servers."""
    directory = named_directory(name)
    config = directory / "rollbook.toml"
    if as_json:
        stack = {"stack": directory.name, "mode": mode, "config": str(config)}
        print_json(stack | asdict(started))
        return
    if started.was_running:
        what = f"started {', '.join(started.started)}" if started.started else "nothing to do"
        say(f"stack {directory.name} was up already: {what}")
    else:
        say(f"stack {directory.name} is up ({mode}) after {started.seconds:.0f} s")
    print_table(["server", "address"], ((n, f"{HOST}:{p}") for n, p in started.ports.items()))
    say(f"settings: {config}")


def status_record(name: str | None, mode: str, processes: list[ProcessStatus]) -> dict[str, Any]:
    """Return the state of a stack as one JSON object."""
    return {
        "stack": named_directory(name).name,
        "mode": mode,
        "processes": [asdict(process) for process in processes],
    }


def print_processes(name: str | None, mode: str, processes: list[ProcessStatus]) -> None:
    """Print a line for each server and service."""
    say(f"stack {named_directory(name).name} ({mode}), logs: `rollbook stack logs NAME`")
    columns = ["name", "kind", "state", "pid", "uptime", "port"]
    rows = ((p.name, p.kind, p.state, p.pid, duration(p.uptime_seconds), p.port) for p in processes)
    print_table(columns, rows)


def duration(seconds: float | None) -> str:
    """Return a duration for people: 42 s, 3 min, 5.2 h; '' for None."""
    if seconds is None:
        return ""
    if seconds < 100:  # noqa: PLR2004 - below this, seconds are easier to read
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004


def all_run(processes: list[ProcessStatus]) -> bool:
    """Return whether every server and service runs; `done` is a container with a single task."""
    return bool(processes) and all(process.state in {"running", "done"} for process in processes)


def exit_code(processes: list[ProcessStatus]) -> int:
    """Return 0 if all run, else the exit code for an unavailable server."""
    return 0 if all_run(processes) else EXIT_UNAVAILABLE
