"""Finds and ends what a killed supervisor left running, so that `down` and `up` still work then."""

import os
import signal
import time
from pathlib import Path

from scripts.stack.supervise import MARK


def end_orphans(stack: Path) -> bool:
    """End every process of the stack in folder `stack`; True if there was any.

    They are known by the mark in their environment, which Linux shows in /proc. Elsewhere nothing
    is found, and the next start names the port that is taken.
    """
    found = bool(_processes_of(stack))
    for number, patience_seconds in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        for pid in _processes_of(stack):
            _send(pid, number)
        until = time.monotonic() + patience_seconds
        while _processes_of(stack) and time.monotonic() < until:
            time.sleep(0.1)
    return found


def _processes_of(stack: Path) -> list[int]:
    mark = f"{MARK}={stack}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            marked = mark in environ.read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
        pid = int(environ.parent.name)
        # A service that runs `rollbook stack down` is marked too, and must not end itself.
        if marked and pid not in (os.getpid(), os.getppid()):
            found.append(pid)
    return found


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
