"""The processor time of everything that works on a request."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil


def processor_seconds(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return name → processor seconds until now of its processes and of those that they started.

    A name without a process id is left out.
    """
    return {name: sum(map(_seconds, some)) for name, some in pids.items() if some}


def _seconds(pid: int) -> float:
    process, seconds = psutil.Process(pid), 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # one of PostgreSQL's workers that has just ended
            times = one.cpu_times()
            # Linux adds those that ended to the process that started them.
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def pids_of_server(address: str) -> list[int]:
    """Return the id of the process that listens at `HOST:PORT`; none if it is unknown."""
    host, _, port = address.rpartition(":")
    if host not in {"localhost", "127.0.0.1"}:
        return []
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return []
    for one in connections:
        is_server = one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == int(port)
        if is_server and one.pid is not None:
            return [one.pid]
    return []
