"""What all kinds of faults share: waits for what need not happen, dead and frozen processes."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import Final

import psutil

from tests.faults.nemesis.system import OUTLASTS_SESSION_SECONDS, System
from tests.started.processes import RunningProcess

Broken = Iterator[None]
Fault = Callable[[System, str, Random], AbstractContextManager[None]]
_REACHED_SECONDS: Final = 40.0


def wait(condition: Callable[[], object], seconds: float = _REACHED_SECONDS) -> bool:
    """Wait for what need not happen, such as a request of an idle handler."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def killed(system: System, target: str, chance: Random) -> Broken:
    """Kill a process. Sometimes it is back at once; otherwise another process may take over."""
    with system.held(target) as process:
        process.kill()
        system.happened[f"{kind(target)} killed"] += 1
        if chance.random() < 0.5:
            system.start(target)
        yield


@contextmanager
def frozen(system: System, target: str, _chance: Random) -> Broken:
    """Freeze a process until others have its partitions, then let it go on."""
    process = system.processes[target]
    began = time.monotonic()
    process.freeze()
    try:
        yield
        time.sleep(max(0.0, began + OUTLASTS_SESSION_SECONDS - time.monotonic()))
        system.happened[f"{kind(target)} frozen"] += 1
    finally:
        process.thaw()


@contextmanager
def server_killed(name: str, system: System, _target: str, _chance: Random) -> Broken:
    """Kill a server, and start it again at the end; what it needs may still be away."""
    system.servers.crash(name)
    system.happened[f"{name} killed"] += 1
    try:
        yield
    finally:
        system.servers.start(name)


@contextmanager
def server_frozen(name: str, system: System, _target: str, chance: Random) -> Broken:
    """Freeze a server, sometimes for longer than sessions last."""
    with system.servers.frozen(name):
        system.happened[f"{name} frozen"] += 1
        yield
        time.sleep(chance.uniform(0, OUTLASTS_SESSION_SECONDS))


def kind(target: str) -> str:
    """Return what a target is called in counts."""
    return "handler" if len(target) == 1 else target


def is_frozen(process: RunningProcess) -> bool:
    """Return whether a process runs and has been stopped by a signal."""
    is_running = process.returncode() is None
    return is_running and psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
