"""One handler command with several processes: they share the work and end together."""

import os
import re
import signal

from producers.client.command_client import CommandClient
from runtime.settings import Settings
from tests.started.processes import Rollbook, RunningProcess, eventually


def start(rollbook: Rollbook) -> RunningProcess:
    """Start a handler with two processes and wait until each has half of the partitions."""
    process = rollbook.start("handler", "run", "--instance", "a", "--processes", "2")
    # The first process has all partitions until the second joins.
    for name in ("a.1", "a.2"):
        half = rf"(assigned|gave up) partitions \[\d, \d\] process=handler instance={name}\n"
        process.wait_for_match(half)
    return process


def pids(process: RunningProcess) -> list[int]:
    """Return the process ids of the two that decide."""
    return [int(pid) for pid in re.findall(r"runs as process (\d+)", process.text())]


def is_gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_both_decide_and_both_stop(settings: Settings, rollbook: Rollbook) -> None:
    """Commands of every partition are answered; SIGTERM to the command stops both processes."""
    process = start(rollbook)
    with CommandClient(settings) as client:
        made = [client.create_user(f"user{n}@example.com", "Jane", 33) for n in range(20)]
    assert {one.status for one in made} == {"accepted"}
    assert process.stop() == 0
    assert all(is_gone(pid) for pid in pids(process))


def test_when_one_process_dies_the_command_ends_with_1(rollbook: Rollbook) -> None:
    """A supervisor then restarts them, and no users are left without a handler."""
    process = start(rollbook)
    one, other = pids(process)
    os.kill(one, signal.SIGKILL)
    assert process.wait() == 1
    assert is_gone(other)


def test_no_process_outlives_the_command(rollbook: Rollbook) -> None:
    """Even if the command is killed with SIGKILL."""
    process = start(rollbook)
    found = pids(process)
    process.kill()
    eventually(lambda: all(is_gone(pid) for pid in found), what="both are gone")
