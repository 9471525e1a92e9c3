"""A service on a real port: where it may listen, what encrypts it, and how it stops."""

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from runtime.http import application, serve
from runtime.http.listen import listen, tls_context
from runtime.metrics.table import METRICS, SERVICE
from runtime.network.addresses import parse_address
from runtime.settings import Settings
from schemas.errors import Misconfigured
from tests.samples.certificates import certificate_pem, private_key_pem
from tests.started.processes import eventually

ROOT = Path(__file__).parents[3]
METRICS_AT = re.compile(r"metrics: listening at http://127\.0\.0\.1:(\d+)")
LISTENING = re.compile(r"listening at (https?)://127\.0\.0\.1:(\d+)")


class Service:
    """A running service and connections to it."""

    def __init__(self, process: "subprocess.Popen[str]", scheme: str, port: int) -> None:
        self.process = process
        self.port = port
        self.lines: list[str] = []  # that it logs while it runs
        self._scheme = scheme

    def read_log(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)

    def connect(self) -> http.client.HTTPConnection:
        if self._scheme == "https":
            trusting = ssl.create_default_context()
            trusting.check_hostname = False
            trusting.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=trusting)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        status, text = self.get_text(path, **headers)
        return status, json.loads(text)

    def get_text(self, path: str, **headers: str) -> tuple[int, str]:
        connection = self.connect()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found


@contextmanager
def running(**settings: Any) -> Iterator[Service]:
    command = [sys.executable, "-m", "tests.unit.runtime.http.services", json.dumps(settings)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        found = None
        while found is None:
            found = LISTENING.search(line := process.stderr.readline())
            assert line, process.wait()
        service = Service(process, found[1], int(found[2]))
        threading.Thread(target=service.read_log, daemon=True).start()
        try:
            yield service
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_what_has_begun_ends_before_the_service() -> None:
    """A request is answered, a stream is told to end, and the exit code is 0."""
    with running() as service:
        slow, stream = service.connect(), service.connect()
        slow.request("GET", "/second")
        stream.request("GET", "/ticks")
        ticks = stream.getresponse()
        assert ticks.readline() == b"tick\n"
        service.process.send_signal(signal.SIGTERM)
        assert ticks.read().endswith(b"end\n")
        assert slow.getresponse().read() == b'"done"'
        slow.close()
        stream.close()
        # Before `running` sends the signal again, which ends a process at once.
        assert service.process.wait(30) == 0


def test_a_service_that_cannot_start_says_why() -> None:
    def fail() -> None:
        raise Misconfigured("a topic is missing", code="missing_topic")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        fail()
        yield

    app = application(Settings(), title="trial", lifespan=lifespan)
    with pytest.raises(Misconfigured, match="a topic is missing"):
        serve(Settings(), app, "127.0.0.1:0")


def test_with_a_certificate_it_speaks_tls_and_tells_when_that_expires(tmp_path: Path) -> None:
    """The metrics have their own address, with what was answered and whether it is ready."""
    with running(metrics_listen="127.0.0.1:0", **certificate(tmp_path)) as service:
        assert service.get("/who") == (200, ["127.0.0.1", "https"])
        port = int(eventually(lambda: METRICS_AT.search("".join(service.lines)))[1])
        metrics = Service(service.process, "http", port)
        eventually(lambda: metrics.get("/readyz")[0] == 200)
        _, text = metrics.get_text("/metrics")
        served = {one.name for one in text_string_to_metric_families(text)}
        ours = (one for one in METRICS if SERVICE in one.served_by)
        assert {one.full_name.removesuffix("_total") for one in ours} <= served
        for series in (
            'http_requests_total{method="GET",route="/who",service="trial",status="200"} 1.0',
            'http_request_seconds_count{route="/who",service="trial"} 1.0',
            'http_requests_in_flight{service="trial"} 0.0',
            "process_ready 1.0",
            'certificate_expiry_timestamp_seconds{certificate="http_tls_certificate"} ',
        ):
            assert f"\nrollbook_{series}" in text
        slow = service.connect()
        slow.putrequest("POST", "/users")
        slow.putheader("Content-Type", "application/json")
        slow.putheader("Content-Length", "2")
        slow.endheaders()
        in_flight = '\nrollbook_http_requests_in_flight{service="trial"} 1.0'
        eventually(lambda: in_flight in metrics.get_text("/metrics")[1])
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: metrics.get("/readyz")[1].get("code") == "service_stopping")
        slow.send(b"{}")
        assert slow.getresponse().status == 201
        slow.close()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A running service without keys."""
    with running() as found:
        yield found


def test_a_head_without_an_end_ends_the_connection(service: Service) -> None:
    """Before it fills the memory; a slow one is closed after a time."""
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.settimeout(20)
        client.sendall(b"GET /who HTTP/1.1\r\nHost: localhost\r\n")
        client.sendall(b"x: " + b"y" * 200_000)
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
        assert service.get("/who")[0] == 200


CHUNKED = b"POST /lines HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
CHUNKED += b"Content-Type: application/x-ndjson\r\n\r\n3\r\n{}\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"0\r\nx: " + b"y" * 400_000, b"0\r\n" + b"x: y\r\n" * 80_000, b"1;x=" + b"y" * 400_000],
    ids=["a long trailer", "many trailers", "a long extension of a chunk"],
)
def test_what_surrounds_the_chunks_of_a_body_is_limited_too(sent: bytes, service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.settimeout(20)
        with suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(CHUNKED + sent)
            while client.recv(4096):
                pass
    assert service.get("/who")[0] == 200


def test_trailers_are_not_taken_for_headers(service: Service) -> None:
    """A proxy checks headers, and passes trailers on as they are."""
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.settimeout(20)
        chunked = CHUNKED.replace(b"/lines", b"/headers")
        client.sendall(chunked + b"0\r\nIf-Match: 1\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
        answer = http.client.HTTPResponse(client)
        answer.begin()
        names = json.loads(answer.read())
    assert sorted(names) == ["content-type", "host", "transfer-encoding"]


@pytest.mark.parametrize(
    "sent", [b"no HTTP\r\n\r\n", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_what_is_not_http_is_answered_with_a_problem_document(
    sent: bytes, service: Service
) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.settimeout(20)
        client.sendall(sent)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (400, "invalid_request")


def test_only_trusted_proxies_say_who_calls(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys":[]}', encoding="utf-8")
    forwarded = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    with running(http_keys_file=str(keys), http_trusted_proxies="127.0.0.0/8") as service:
        assert service.get("/who", **forwarded) == (200, ["192.0.2.7", "https"])
    with running(http_keys_file=str(keys), http_trusted_proxies="10.0.0.0/8") as service:
        status, document = service.get("/who", **forwarded)
        assert (status, document["code"]) == (403, "not_from_proxy")
        assert service.get("/livez")[0] == 200


def test_beyond_this_machine_it_needs_keys_and_encryption(tmp_path: Path) -> None:
    for address in ("0.0.0.0:0", "[::]:0"):
        for settings, is_open, code in (
            (Settings(), True, "open_service"),
            (Settings(), False, "no_tls"),
        ):
            with pytest.raises(Misconfigured) as caught:
                listen(settings, address, is_open=is_open)
            assert caught.value.code == code
    for protected in ({"http_trusted_proxies": "10.0.0.1"}, certificate(tmp_path)):
        found = listen(Settings(**protected), "0.0.0.0:0", is_open=False)
        found.socket.close()
        assert not found.is_local


def test_an_address_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(Misconfigured) as caught:
            listen(Settings(), f"127.0.0.1:{taken.getsockname()[1]}", is_open=True)
        assert caught.value.code == "cannot_listen"


@pytest.mark.parametrize("text", ["", "80", ":80", "host:", "host:x", "host:65536", "::1:80"])
def test_an_address_is_a_host_and_a_port(text: str) -> None:
    assert parse_address(text) is None
    with pytest.raises(Misconfigured):
        listen(Settings(), text, is_open=False)
    assert parse_address("[::1]:80") == ("::1", 80)


def test_a_certificate_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    Path(files["http_tls_key"]).write_text("no key", encoding="utf-8")
    with pytest.raises(Misconfigured) as caught:
        tls_context(Settings(**files))
    assert caught.value.code == "bad_certificate"


def certificate(folder: Path) -> dict[str, Any]:
    """Write a certificate for 127.0.0.1 and its key; return the settings that name them."""
    (folder / "tls.pem").write_bytes(certificate_pem())
    (folder / "tls.key").write_bytes(private_key_pem())
    return {
        "http_tls_certificate": str(folder / "tls.pem"),
        "http_tls_key": str(folder / "tls.key"),
    }
