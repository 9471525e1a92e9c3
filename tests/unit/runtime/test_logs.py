"""Logs: the same fields as text and as JSON, one record per line, and no personal data."""

import asyncio
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

from runtime.command_line.terminal import print_error
from runtime.logs import (
    log_fields,
    log_uncaught_in_tasks,
    log_uncaught_in_threads,
    start_logging,
    summary_of,
)
from runtime.settings import Settings
from schemas.errors import Misconfigured, Poisoned, RollbookError, Unavailable

SECRET = "jane.secret@example.com"
log = logging.getLogger("handler")
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore what starting logs changes for the whole process."""
    root = logging.getLogger()
    saved, level = root.handlers[:], root.level
    last = logging.lastResort
    assert last is not None
    formatter = last.formatter
    monkeypatch.setattr("runtime.logs._of_process", {})
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield
    root.handlers[:] = saved
    root.setLevel(level)
    last.setFormatter(formatter)
    logging.captureWarnings(False)


def objects(output: Output) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.readouterr().err.splitlines()]


def test_json_logs_are_one_object_per_line(capsys: Output) -> None:
    """A message may contain newlines or invalid text, and a traceback is part of the object."""
    start_logging(Settings(log_format="json"), "handler", instance="a")
    log.info("partition %d\nready", 3)
    log.info("the file \udcff")
    try:
        int("x")
    except ValueError:
        log.exception("stopped")
    first, second, third = objects(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "info",
        "process": "handler",
        "instance": "a",
        "logger": "handler",
        "message": "partition 3\nready",
    }
    assert second["message"] == "the file \\udcff"
    assert third["traceback"].endswith("ValueError")
    assert "test_logs.py" in third["traceback"]


def test_text_logs_are_for_people(capsys: Output) -> None:
    """Level, logger and message on one line, without the logs of HTTP libraries."""
    start_logging(Settings(), "projector", read_model="postgres")
    log.warning("waiting\nfor %s", "Kafka")
    logging.getLogger("httpx").warning("request")
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"\S+Z WARNING handler: waiting\\nfor Kafka process=projector read_model=postgres", line
    )


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_both_formats_have_the_same_fields(capsys: Output, log_format: str) -> None:
    """Of the process, of the thread, of the line, and the code of an error in it."""
    start_logging(Settings(log_format=log_format), "projector", read_model="postgres")
    error = Unavailable("PostgreSQL failed", code="postgres_unavailable")
    with log_fields(version=2):
        log.warning("%s; trying again in %.1f s", error, 0.1)
        log.warning("dead letter", extra={"partition": 3, "code": "bad_avro"})
    other = threading.Thread(target=log.warning, args=("of the process",))
    other.start()
    other.join()
    err = capsys.readouterr().err.splitlines()
    common = {"process": "projector", "read_model": "postgres"}
    expected: list[dict[str, Any]] = [
        {**common, "version": 2, "code": "postgres_unavailable"},
        {**common, "version": 2, "partition": 3, "code": "bad_avro"},
        common,
    ]
    for line, fields in zip(err, expected, strict=True):
        if log_format == "json":
            found = json.loads(line)
            assert {name: found[name] for name in found if name in expected[1]} == fields
        else:
            assert line.endswith("".join(f" {name}={value}" for name, value in fields.items()))


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (Poisoned("a record is not valid Avro"), "a record is not valid Avro"),
        (ValueError(SECRET), "ValueError"),
        (FileNotFoundError(2, SECRET), "FileNotFoundError ENOENT"),
        (psycopg.errors.UniqueViolation(SECRET), "UniqueViolation 23505"),
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), "KafkaException _ALL_"),
    ],
    ids=str,
)
def test_only_our_errors_are_quoted(error: Exception, summary: str) -> None:
    assert summary_of(error).startswith(summary)
    assert SECRET not in summary_of(error)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_exception_quotes_personal_data(capsys: Output, log_format: str) -> None:
    """Not as argument, as message, in a traceback or its causes, from a thread or a task."""
    start_logging(Settings(log_format=log_format), "queries")
    log_uncaught_in_threads()
    log.warning("ignored: %s, %r", ValueError(SECRET), KeyError(SECRET))
    log.error(ValueError(SECRET))
    try:
        _fail_with_causes()
    except RollbookError:
        log.exception("failed")
    thread = threading.Thread(target=_fail_with_causes, name="decoder")
    thread.start()
    thread.join()
    asyncio.run(_lose_a_task())
    err = capsys.readouterr().err
    assert "ignored: ValueError, 'KeyError'" in err
    assert err.count("Unavailable: the store failed") == 2
    assert err.count("  | ValueError") == 2
    assert "the thread decoder failed" in err
    assert "Task exception was never retrieved" in err
    assert "code=store_unavailable" in err or '"code":"store_unavailable"' in err
    assert SECRET not in err


def _fail_with_causes() -> None:
    try:
        try:
            raise ExceptionGroup(SECRET, [ValueError(SECRET)])  # noqa: TRY301 - caught and kept
        except ExceptionGroup as group:
            raise KeyError(SECRET) from group
    except KeyError:
        raise Unavailable("the store failed", code="store_unavailable")  # noqa: B904 - a context


async def _lose_a_task() -> None:
    async def fail() -> None:
        raise ValueError(SECRET)

    asyncio.get_running_loop().set_exception_handler(log_uncaught_in_tasks)
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task


def test_a_command_without_logs_quotes_nothing_either(capsys: Output) -> None:
    """Its warnings are plain lines, as Python prints them."""
    logging.getLogger().handlers[:] = []
    log_uncaught_in_threads()
    try:
        int(SECRET)
    except ValueError:
        log.exception("the outcomes cannot be followed")
    err = capsys.readouterr().err
    assert err.startswith("the outcomes cannot be followed\nTraceback")
    assert SECRET not in err


def test_what_ends_a_process_is_json_too(capsys: Output) -> None:
    start_logging(Settings(log_format="json"), "handler", instance="a")
    print_error(Misconfigured("no", code="bad_setting", next_step="correct it"), as_json=False)
    [line] = objects(capsys)
    assert (line["level"], line["code"]) == ("critical", "bad_setting")
    assert line["message"] == "no; next: correct it"
