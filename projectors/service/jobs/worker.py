"""What the process of a job runs: an operation, whose lines and end it sends to the service."""

import logging
import signal
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from runtime.logs import log_uncaught_in_threads, message_of
from runtime.settings import Settings
from schemas.errors import RollbookError

log = logging.getLogger(__name__)

Emit: TypeAlias = Callable[[Mapping[str, Any]], None]
# Takes the settings, its arguments, and a function to call for each line of its output; returns its
# result, or None if it was asked to stop. A line has `text`, for people, and perhaps other fields.
Operation: TypeAlias = Callable[[Settings, Mapping[str, Any], Emit], Mapping[str, Any] | None]


def run_operation(
    operation: Operation, settings: Settings, arguments: Mapping[str, Any], pipe: Connection
) -> None:
    """Run `operation`; send its lines, then its result or error. Ends if the service is gone."""
    log_uncaught_in_threads()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which stops us

    def emit(line: Mapping[str, Any]) -> None:
        pipe.send(("line", line))

    logging.basicConfig(level=logging.WARNING, handlers=[_Lines(emit)], force=True)
    for ours in ("projectors", "runtime", "scripts"):
        logging.getLogger(ours).setLevel(logging.INFO)
    try:
        result = operation(settings, arguments, emit)
    except RollbookError as error:
        said = {"code": error.code, "message": str(error), "next": error.next_step}
        pipe.send(("error", said))
    except BrokenPipeError:
        return
    except Exception as error:
        log.exception("the job failed")
        message = f"the job failed: {type(error).__name__}"
        pipe.send(("error", {"code": "error", "message": message, "next": ""}))
    else:
        if result is not None:
            pipe.send(("result", result))


class _Lines(logging.Handler):
    """Sends what the operation logs, such as that it waits for a server, among its lines."""

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """Send one log record."""
        self._emit({"text": message_of(record), "level": record.levelname.lower()})
