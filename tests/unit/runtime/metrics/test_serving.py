"""What is served at `metrics_listen`, by one process and for several."""

import http.client
import json
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from typing import Any

import pytest

from runtime.metrics.health import HEALTH, START
from runtime.metrics.serving import answer_for_this_process, serving_metrics
from runtime.metrics.table import HANDLER
from runtime.settings import Settings
from schemas.errors import Misconfigured, Unavailable

SETTINGS = Settings(metrics_listen="127.0.0.1:0")


@contextmanager
def serving(caplog: pytest.LogCaptureFixture, **pipes: Any) -> Iterator[http.client.HTTPConnection]:
    """Serve this process's metrics, or those behind `pipes`; yield a connection."""
    with caplog.at_level(logging.INFO), serving_metrics(SETTINGS, HANDLER, pipes or None):
        [port] = re.findall(r"listening at http://127\.0\.0\.1:(\d+)", caplog.text)
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        try:
            yield connection
        finally:
            connection.close()


def get(connection: http.client.HTTPConnection, path: str, method: str = "GET") -> tuple[int, str]:
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_metrics_and_probes_are_served(caplog: pytest.LogCaptureFixture) -> None:
    with serving(caplog) as connection:
        HEALTH.works(START)
        assert get(connection, "/livez") == (200, '{"status":"alive"}')
        assert get(connection, "/readyz") == (200, '{"status":"ready"}')
        status, text = get(connection, "/metrics")
        assert status == 200
        assert "\nrollbook_process_ready 1.0\n" in text
        assert "\nprocess_cpu_seconds_total " in text
        assert get(connection, "/metrics", "HEAD") == (200, "")
        status, text = get(connection, "/users")
        assert (status, json.loads(text)["code"]) == (404, "path_not_found")


def test_a_process_that_is_not_ready_says_what_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    down = Unavailable("Kafka failed", code="kafka_unavailable", next_step="start it")
    with serving(caplog) as connection:
        HEALTH.works(START)
        HEALTH.lacks(down, "ends")
        try:
            status, text = get(connection, "/readyz")
            assert get(connection, "/livez")[0] == 200
        finally:
            HEALTH.works("ends")
        lack = {"part": "ends", "detail": "Kafka failed", "code": "kafka_unavailable"}
        assert status == 503
        assert json.loads(text) == {
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "detail": "Kafka failed",
            "code": "kafka_unavailable",
            "next": "start it",
            "missing": [lack | {"next": "start it"}],
        }


def test_one_endpoint_answers_for_several_processes(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = Pipe()
    answer_for_this_process(SETTINGS, HANDLER, theirs)
    HEALTH.works(START)
    with serving(caplog, one=ours) as connection:
        assert get(connection, "/readyz")[0] == 200
        assert "\nrollbook_process_ready 1.0\n" in get(connection, "/metrics")[1]
    ours.close()


def test_a_process_that_has_ended_makes_the_whole_not_ready(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, theirs = Pipe()
    theirs.close()
    with serving(caplog, one=ours) as connection:
        status, text = get(connection, "/readyz")
        assert (status, json.loads(text)["code"]) == (503, "process_silent")
        assert "\nrollbook_process_ready 0.0\n" in get(connection, "/metrics")[1]
        assert get(connection, "/livez")[0] == 200


def test_a_port_in_use_is_an_error_that_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(metrics_listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with (
            pytest.raises(Misconfigured, match="in use") as caught,
            serving_metrics(settings, HANDLER),
        ):
            pass
    assert caught.value.code == "cannot_listen"
    assert "metrics_listen" in caught.value.next_step


@pytest.mark.parametrize("value", ["9464", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"])
def test_a_wrong_address_is_refused_when_the_settings_are_read(value: str) -> None:
    with pytest.raises(Misconfigured, match="metrics_listen must be"):
        Settings(metrics_listen=value)


def test_without_the_setting_nothing_is_served(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), serving_metrics(Settings(), HANDLER):
        assert caplog.text == ""
