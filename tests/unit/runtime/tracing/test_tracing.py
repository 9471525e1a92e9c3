"""Where spans come from and go to: the setting, the extra, the exporter, the environment."""

import subprocess
import sys
import threading
import time

import pytest

from runtime.configuration.rule import WrongValueError
from runtime.settings import Settings
from runtime.tracing import conventions, export, exporting, tracing_of
from runtime.tracing.tracing import started
from schemas.errors import Misconfigured
from tests.observed.spans import receiving
from tests.samples.given import create

OTLP = Settings(tracing="otlp")
JANE = create("jane@example.com")
# Everything that a running process imports.
_IMPORT_ALL = """
import sys
import producers.client.async_client, producers.client.command_client, producers.handler.start
import projectors.versions.host
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exp"))])
print("runtime.tracing.tracing" in sys.modules)
"""


def test_nothing_is_imported_while_it_is_off() -> None:
    """Elasticsearch's client imports OpenTelemetry's API itself, but not the SDK."""
    done = subprocess.run([sys.executable, "-c", _IMPORT_ALL], capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == ["[]", "False"]


def test_off_is_off() -> None:
    settings = Settings()
    with exporting(settings, "test"):
        assert tracing_of(settings) is None


def test_another_value_is_refused() -> None:
    with pytest.raises(WrongValueError, match="tracing must be otlp or empty"):
        Settings(tracing="jaeger")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "runtime.command_line.extras.is_installed", lambda extra: extra != "tracing"
    )
    with pytest.raises(Misconfigured, match="needs the extra `tracing`") as raised:
        tracing_of(OTLP)
    assert raised.value.code == "no_tracing"
    with pytest.raises(Misconfigured, match="needs the extra"), exporting(OTLP, "test"):
        pass


def test_spans_are_exported_with_what_they_are_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with exporting(OTLP, "rollbook-test", "a"):
            made = tracing_of(OTLP)
            assert made is not None
            sent = made.send_command("user-commands", 3, JANE)
            sent.confirm(7)
            sent.give_up()  # changes nothing any more
            made.send_command("user-commands", 3, JANE).give_up()
    confirmed, given_up = receiver.spans
    assert (confirmed.service, confirmed.name) == ("rollbook-test", "send user-commands")
    assert (confirmed.kind, confirmed.parent, confirmed.failed) == ("producer", "", False)
    assert confirmed.attributes["messaging.kafka.offset"] == 7
    assert confirmed.attributes["rollbook.command.kind"] == "CreateUser"
    assert given_up.attributes["error.type"] == "not_confirmed"
    assert started == []


def test_a_collector_that_is_down_delays_the_end_by_no_more_than_the_limit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(export, "FLUSH_SECONDS", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    began = time.monotonic()
    with exporting(OTLP, "test"):
        made = tracing_of(OTLP)
        assert made is not None
        for number in range(200):
            made.send_command("user-commands", number, JANE).confirm(number)
        assert time.monotonic() - began < 5  # on any machine: nothing waited for the collector
    assert time.monotonic() - began < 10
    assert len([r for r in caplog.records if "encountered while exporting" in r.message]) <= 1
    for thread in threading.enumerate():
        if thread.name == "tracing" or thread.name.startswith("Otel"):
            thread.join(10)
            assert not thread.is_alive(), thread.name


def test_an_application_with_its_own_provider_needs_no_exporter_of_ours() -> None:
    """Without a provider the API makes no spans, so commands carry no context."""
    made = tracing_of(OTLP)
    assert made is not None
    assert made.send_command("user-commands", 0, JANE).headers == []


def test_the_names_are_those_of_the_conventions() -> None:
    """They change with releases of OpenTelemetry, which this test notices."""
    from opentelemetry.semconv._incubating.attributes import messaging_attributes
    from opentelemetry.semconv.attributes import http_attributes, url_attributes

    known = {
        value
        for module in (messaging_attributes, http_attributes, url_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    ours = (
        conventions.processing("t", "g", 0, 0)
        | conventions.processing_batch("t", "g", 1)
        | conventions.request("GET", "http")
        | conventions.answer("/users", 200)
    )
    assert ours.keys() <= known
