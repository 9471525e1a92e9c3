"""The logs of long-running processes: their format, their fields, and what they never contain.

Every line has the same fields as text and as JSON, so that one search finds all lines about a
partition or an error in the logs of many processes.

No line contains personal data. Our own messages name records by their place, users by their id and
settings by their name. The messages of other exceptions may quote whatever the code was working
on: a row, a document, a body. So only their type and the places in the code are logged, whether
they are in a traceback, an argument of a message, or were never caught.
"""

import errno
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import orjson

from runtime.printable import printable
from runtime.settings import Settings
from schemas.errors import RollbookError

log = logging.getLogger(__name__)

# In this order. `code` is that of an error, as in docs/reference/errors.md.
FIELDS: Final = ("process", "instance", "read_model", "version", "partition", "code")

_of_process: dict[str, Any] = {}
_of_context: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default=MappingProxyType({}))


def start_logging(settings: Settings, process: str, **fields: str) -> None:
    """Send logs of INFO and above to stderr, as text or as one JSON object per line.

    `process` says what the process does; it and `fields` are in every line.
    """
    _of_process.clear()
    _of_process.update(fields, process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # These log every request; our own errors report the failed ones.
    for noisy in ("httpx", "httpx2", "elastic_transport.transport", "elastic_transport.node"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def logs_json() -> bool:
    """Return whether this process logs as JSON, so that everything it prints must be JSON."""
    return any(isinstance(one.formatter, JsonFormatter) for one in logging.getLogger().handlers)


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Add `fields` to every line that this thread or task logs in the `with` block."""
    token = _of_context.set({**_of_context.get(), **fields})
    try:
        yield
    finally:
        _of_context.reset(token)


def log_uncaught_in_threads() -> None:
    """Log exceptions that end a thread or that Python ignores; it would print their messages.

    Also covers what is logged in a command that did not start logs.
    """

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread else "?"
            log.critical("the thread %s failed", name, exc_info=args.exc_value)

    def ignored(args: "sys.UnraisableHookArgs") -> None:
        log.error("an exception was ignored", exc_info=args.exc_value)

    threading.excepthook = in_thread
    sys.unraisablehook = ignored
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(MessageFormatter())


def log_uncaught_in_tasks(_loop: object, context: dict[str, Any]) -> None:
    """Log what an event loop reports, as its exception handler; its own would quote exceptions."""
    log.error("%s", context["message"], exc_info=context.get("exception"))


class MessageFormatter(logging.Formatter):
    """The message alone, with a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        error = _error(record)
        line = printable(message_of(record))
        return line if error is None else f"{line}\n{traceback_of(error)}"


class TextFormatter(MessageFormatter):
    """For people: `TIME LEVEL LOGGER: MESSAGE FIELD=VALUE …`, then a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = "".join([f" {name}={value}" for name, value in _fields(record).items()])
        error = _error(record)
        message = printable(message_of(record) + fields)
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {message}"
        return line if error is None else f"{line}\n{traceback_of(error)}"


class JsonFormatter(logging.Formatter):
    """For programs: one JSON object, whose traceback is a field as well."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            **_fields(record),
            "logger": record.name,
            # A name of a file, for example, may not be valid UTF-8.
            "message": message_of(record).encode(errors="backslashreplace").decode(),
        }
        error = _error(record)
        if error is not None:
            line["traceback"] = traceback_of(error)
        return orjson.dumps(line, default=str).decode()


def _time(record: logging.LogRecord) -> str:
    milliseconds = int(record.created * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


@lru_cache(maxsize=2)  # a busy service logs thousands of lines in a second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields that are known: of the record itself, the thread, or the process.

    Those of the record are given as `extra`; its `code` is also that of an error of ours in it.
    """
    given, context = record.__dict__, _of_context.get()
    found = {}
    for name in FIELDS:
        # Python's records have another `process`, the number of the process.
        value = given.get(name) if name != "process" else None
        if value is None:
            value = context.get(name, _of_process.get(name))
        if value not in (None, ""):
            found[name] = value
    if "code" not in found and (code := _code(record)):
        found["code"] = code
    return found


def _code(record: logging.LogRecord) -> str:
    for one in (*_errors(record), _error(record)):
        if isinstance(one, RollbookError):
            return one.code
    return ""


def _errors(record: logging.LogRecord) -> list[BaseException]:
    """Return the exceptions among the arguments of the message."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return [one for one in arguments if isinstance(one, BaseException)]


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def message_of(record: logging.LogRecord) -> str:
    """Return the message, with the types of exceptions of libraries instead of their messages."""
    if isinstance(record.msg, BaseException):
        return summary_of(record.msg)
    if isinstance(record.args, tuple) and _errors(record):
        shown = (summary_of(a) if isinstance(a, BaseException) else a for a in record.args)
        return str(record.msg) % tuple(shown)
    return record.getMessage()


def summary_of(error: BaseException) -> str:
    """Return the message of an error of ours; of any other, its type and its symbolic code."""
    if isinstance(error, RollbookError):
        return str(error)
    return " ".join(filter(None, (type(error).__name__, _symbol(error))))


def _symbol(error: BaseException) -> str:
    """Return by what name the operating system, PostgreSQL or Kafka calls the error, if any."""
    if isinstance(error, OSError):
        return errno.errorcode.get(error.errno or 0, "")
    first = error.args[0] if error.args else None
    if type(first).__name__ == "KafkaError":
        return str(first.name())  # type: ignore[union-attr]
    return str(getattr(error, "sqlstate", None) or "")


def traceback_of(error: BaseException) -> str:
    """Return the traceback and those of the errors that led to it, with `summary_of` each."""
    chain = [error]
    while (earlier := _earlier(chain[0])) is not None and earlier not in chain:
        chain.insert(0, earlier)
    return "\nThis led to:\n".join(map(_one_traceback, chain))


def _earlier(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _one_traceback(error: BaseException) -> str:
    places = "".join(traceback.format_tb(error.__traceback__))
    kind = type(error).__name__
    summary = summary_of(error)
    last = f"{kind}: {summary}" if isinstance(error, RollbookError) else summary
    # What a group of tasks raised together.
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    lines = ["Traceback (most recent call last):", *places.splitlines(), last]
    for part in parts:
        lines += [f"  | {line}" for line in traceback_of(part).splitlines()]
    return "\n".join(lines)
