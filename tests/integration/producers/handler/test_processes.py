"""One service as several processes: they share the work, and none is left behind."""

import os
import re
import signal

from producers.client.command_client import CommandClient
from runtime.settings import Settings
from tests.processes import Rollbook, RunningProcess, eventually


def start(rollbook: Rollbook) -> RunningProcess:
    """Start a handler of two processes, each with its half of the partitions."""
    process = rollbook.start("handler", "run", "--instance", "a", "--processes", "2")
    # The first process up has all partitions until the other joins.
    for name in ("a.1", "a.2"):
        half = rf"{name} producers\.handler\.ownership: (assigned|gave up) partitions \[\d, \d\]"
        process.wait_for_match(half)
    return process


def pids(process: RunningProcess) -> list[int]:
    """Return the ids of the two processes that decide."""
    return [int(pid) for pid in re.findall(r"runs as process (\d+)", process.text())]


def is_gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_both_decide_and_both_stop(settings: Settings, rollbook: Rollbook) -> None:
    """Addresses of every partition are answered; SIGTERM to the one command stops all."""
    process = start(rollbook)
    with CommandClient(settings) as client:
        made = [client.create_user(f"user{n}@example.com", "Jane", 33) for n in range(20)]
    assert {one.status for one in made} == {"accepted"}
    assert process.stop() == 0
    assert all(is_gone(pid) for pid in pids(process))


def test_one_that_dies_ends_all_with_an_exit_code(rollbook: Rollbook) -> None:
    """So a supervisor starts all of them again, instead of leaving half of the users unserved."""
    process = start(rollbook)
    one, other = pids(process)
    os.kill(one, signal.SIGKILL)
    assert process.wait() == 1
    assert is_gone(other)


def test_none_outlives_the_command(rollbook: Rollbook) -> None:
    """Though it be killed with -9."""
    process = start(rollbook)
    found = pids(process)
    process.kill()
    eventually(lambda: all(is_gone(pid) for pid in found), what="both are gone")
