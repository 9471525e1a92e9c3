"""Starts `rollbook serve` for a test and calls it over HTTP."""

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import httpx2

from runtime.network.tls import client_context
from tests.started.processes import Rollbook, RunningProcess, eventually

_BUFFER_BYTES = 16_384
_LISTENING = re.compile(r"listening at (https?://[\w.:]+)")


def address_of(process: RunningProcess) -> str:
    """Return the URL of a service, once it listens."""
    process.wait_for_match(_LISTENING.pattern, timeout_seconds=120)
    found = _LISTENING.search(process.text())
    assert found is not None
    return found[1]


class Service:
    """A running service: its process, its address and a client of it.

    The client trusts the certificates of the file `authority`, if the service uses TLS.
    """

    def __init__(self, rollbook: Rollbook, *arguments: str, authority: str = "") -> None:
        self.process: RunningProcess = rollbook.start(
            "serve", *arguments, "--listen", "127.0.0.1:0"
        )
        self.url = address_of(self.process)
        verify = client_context(authority) if authority else False
        self.http = httpx2.Client(base_url=self.url, timeout=60, trust_env=False, verify=verify)
        eventually(lambda: self.http.get("/readyz").status_code == 200, what="the service is ready")

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])


class CommandLines:
    """A request of many commands, whose answers are read while lines are being sent.

    The connection's buffers are small: a service soon has to wait for a caller that does not read.
    """

    def __init__(self, service: Service) -> None:
        self._connection = HTTPConnection("127.0.0.1", service.port)
        try:
            self._response = self._open(service.port)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, port: int) -> HTTPResponse:
        connection = socket.socket()
        self._connection.sock = connection
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            connection.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER_BYTES)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", port))
        self._connection.putrequest("POST", "/commands")
        self._connection.putheader("Content-Type", "application/x-ndjson")
        self._connection.putheader("Transfer-Encoding", "chunked")
        self._connection.endheaders()
        return self._connection.getresponse()

    def send(self, *lines: Any) -> None:
        """Send objects, each as one line."""
        self.send_bytes("".join(f"{json.dumps(line)}\n" for line in lines).encode())

    def send_bytes(self, content: bytes, timeout_seconds: float = 60) -> None:
        """Send a part of the body. Raises TimeoutError if the service does not take it."""
        connection = self._connection.sock
        assert connection is not None
        connection.settimeout(timeout_seconds)
        try:
            connection.sendall(b"%x\r\n%s\r\n" % (len(content), content))
        finally:
            connection.settimeout(60)

    def answers(self) -> Iterator[Any]:
        """Yield the answers until the service ends the response."""
        while line := self._response.readline():
            yield json.loads(line)

    def close(self) -> None:
        """Disconnect, whatever the service is doing."""
        self._response.close()
        self._connection.close()
