"""Looking for the cause of a failed connection costs nothing that stays behind.

A projector that waits for its store looks every second or so, for as long as the outage lasts, and
collects garbage rarely: what is left in a cycle would add up.
"""

import gc
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runtime.network import tls


@contextmanager
def plain_server() -> Iterator[int]:
    """Yield the port of a server that answers whatever it is sent in plain text, and hangs up."""

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def contexts() -> int:
    return sum(isinstance(one, ssl.SSLContext) for one in gc.get_objects())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_look_at_a_server_leaves_no_garbage(scheme: str) -> None:
    with plain_server() as port:
        server = tls.http_server("elasticsearch", f"{scheme}://127.0.0.1:{port}", "")
        gc.collect()
        before = contexts()
        gc.disable()
        try:
            found = tls.why_tls_fails(server)
            assert (found.code if found else None) == {"https": "tls_missing"}.get(scheme)
            assert contexts() == before
        finally:
            gc.enable()


def test_authorities_are_not_read_for_a_server_that_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with plain_server() as port:
        pass
    monkeypatch.setattr(tls, "client_context", lambda _: pytest.fail("they were read"))
    for scheme in ("http", "https"):
        assert (
            tls.why_tls_fails(tls.http_server("registry", f"{scheme}://127.0.0.1:{port}", ""))
            is None
        )
