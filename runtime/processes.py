"""Runs one service as several processes, because one Python process uses only one core.

They are spawned, not forked: Kafka clients do not survive a fork.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from typing import TypeAlias

from runtime.logs import log_uncaught_in_threads, process_name, start_logging
from runtime.process import StopSignal
from runtime.settings import Settings
from runtime.terminal import EXIT_FAILED, exit_code, print_error
from schemas.errors import RollbookError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_STOP_SECONDS = 60.0

Service: TypeAlias = Callable[[Settings, str, StopSignal], None]


def run_processes(
    service: Service, settings: Settings, instances: Sequence[str], stop: StopSignal
) -> int:
    """Run `service(settings, instance, stop)` in a process for each instance; return an exit code.

    `service` must be importable by name. Blocks until `stop` is set or a process exits, then stops
    all of them. Returns 0 after `stop`; otherwise the exit code of that process (1 if it was 0), so
    that a supervisor restarts all. They also stop when this process dies, even if it is killed.
    """
    context = get_context("spawn")
    processes = {
        name: context.Process(
            target=_run_child, args=(service, settings, process_name(), name), name=name
        )
        for name in instances
    }
    for name, process in processes.items():
        process.start()
        log.info("%s runs as process %d", name, process.pid, extra={"instance": name})
    code = 0
    try:
        while not stop and not code:
            connection.wait([one.sentinel for one in processes.values()], timeout=_LOOK_SECONDS)
            code = _first_exit_code(processes)
    finally:
        for process in processes.values():
            _stop(process)
    return code


def _first_exit_code(processes: dict[str, SpawnProcess]) -> int:
    """Return the exit code of the process that ended first, or 0 while all of them run."""
    for name, process in processes.items():
        code = process.exitcode
        if code is not None:
            of = {"instance": name}
            log.error(
                "process %s ended with exit code %d: stopping the others", name, code, extra=of
            )
            return code if code > 0 else EXIT_FAILED
    return 0


def _stop(process: SpawnProcess) -> None:
    if process.is_alive():
        process.terminate()
        process.join(_STOP_SECONDS)
    if process.is_alive():
        log.error(
            "process %s does not stop: killing it", process.name, extra={"instance": process.name}
        )
        process.kill()
        process.join()


def _run_child(service: Service, settings: Settings, process: str, instance: str) -> None:
    start_logging(settings, process, instance=instance)
    log_uncaught_in_threads()
    stop = StopSignal().install()
    threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    try:
        service(settings, instance, stop)
    except RollbookError as error:
        print_error(error, as_json=False)
        sys.stderr.flush()
        os._exit(exit_code(error))
    except Exception:
        log.critical("%s failed unexpectedly", instance, exc_info=True)
        sys.stderr.flush()
        os._exit(EXIT_FAILED)


def _stop_with_parent(stop: StopSignal) -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        stop.set()
