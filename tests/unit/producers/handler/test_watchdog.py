"""A hanging call ends the process; a slow one does not."""

import subprocess
import sys

PROGRAM = """
import sys, time
from producers.handler.watchdog import Watchdog
watchdog = Watchdog(0.5)
with watchdog.step():
    time.sleep(float(sys.argv[1]))
time.sleep(1.5)
print("went on")
"""


def run(seconds: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, seconds], capture_output=True, check=False, timeout=60
    )


def test_a_step_that_hangs_ends_the_process() -> None:
    done = run("30")
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_step_that_returned_is_forgotten() -> None:
    done = run("0.1")
    assert (done.returncode, done.stdout) == (0, b"went on\n")
