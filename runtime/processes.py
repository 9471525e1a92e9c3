"""Runs one service as several processes, because one Python process uses only one core.

They are spawned, not forked: Kafka clients do not survive a fork.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TypeAlias

from runtime.command_line.terminal import EXIT_FAILED, exit_code, print_error
from runtime.logs import log_uncaught_in_threads, start_logging
from runtime.metrics.serving import answer_for_this_process, serving_metrics
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import RollbookError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_STOP_SECONDS = 60.0

Service: TypeAlias = Callable[[Settings, str, StopSignal], None]


def run_processes(
    service: Service, settings: Settings, instances: Sequence[str], stop: StopSignal, kind: str
) -> int:
    """Run `service(settings, instance, stop)` in a process for each instance; return an exit code.

    This process serves the metrics of all of them, which are of one kind.

    `service` must be importable by name. Blocks until `stop` is set or a process exits, then stops
    all of them. Returns 0 after `stop`; otherwise the exit code of that process (1 if it was 0), so
    that a supervisor restarts all. They also stop when this process dies, even if it is killed.
    """
    context = get_context("spawn")
    pipes = {name: context.Pipe() for name in instances if settings.metrics_listen}
    with serving_metrics(settings, kind, {name: ours for name, (ours, _) in pipes.items()}):
        processes = {}
        for name in instances:
            _, theirs = pipes.get(name, (None, None))
            process = context.Process(
                target=_run_child, args=(service, settings, name, kind, theirs), name=name
            )
            process.start()
            if theirs is not None:
                theirs.close()  # so that reading ours fails once the process has ended
            processes[name] = process
            log.info("%s runs as process %d", name, process.pid, extra={"instance": name})
        return _wait_and_stop(processes, stop)


def _wait_and_stop(processes: dict[str, SpawnProcess], stop: StopSignal) -> int:
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


def _run_child(
    service: Service, settings: Settings, instance: str, kind: str, pipe: Connection | None
) -> None:
    start_logging(settings, kind, instance=instance)
    log_uncaught_in_threads()
    if pipe is not None:
        answer_for_this_process(settings, kind, pipe)
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
