"""A relay that adds TLS in front of a real server, with any certificate, good or bad."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from select import select
from typing import Self

import trustme

_BLOCK_BYTES = 65_536
_SSL_REQUEST_BYTES = 8


class Fault(StrEnum):
    """What is wrong with a certificate: the code of the error that says so."""

    UNTRUSTED = "certificate_untrusted"
    EXPIRED = "certificate_expired"
    MISMATCH = "certificate_mismatch"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Certificates of one authority, whose file is `ca_file`, and one of another authority."""

    ca_file: Path
    good: ssl.SSLContext
    bad: dict[Fault, ssl.SSLContext] = field(default_factory=dict)


def issue_certificates(directory: Path) -> Certificates:
    """Return certificates for 127.0.0.1: a good one, and one with each fault."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    issued = {
        Fault.UNTRUSTED: trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("127.0.0.1"),
        Fault.EXPIRED: authority.issue_cert("127.0.0.1", not_after=yesterday),
        Fault.MISMATCH: authority.issue_cert("other.example"),
    }
    bad = {fault: _context(certificate) for fault, certificate in issued.items()}
    return Certificates(ca_file, _context(authority.issue_cert("127.0.0.1")), bad)


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


class TlsRelay:
    """A relay at 127.0.0.1:`port`, as a context manager; `presents` is its certificate.

    In front of PostgreSQL, it answers the request for TLS first.
    """

    def __init__(self, server: str, presents: ssl.SSLContext, *, is_postgres: bool = False) -> None:
        self.presents = presents
        host, port = server.rsplit(":", 1)
        self._server = (host, int(port))
        self._is_postgres = is_postgres
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._accepting = threading.Thread(target=self._accept)
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._has_ended = False

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        _shut_down(self._listener)
        self._accepting.join()
        self._listener.close()
        self._has_ended = True
        self.cut()
        for thread in self._threads:
            thread.join()

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """End all connections: clients come back and see the certificate of now."""
        with self._lock:
            for one in self._open:
                _shut_down(one)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was shut down
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._relay, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _relay(self, client: socket.socket) -> None:
        with suppress(OSError), ExitStack() as opened:
            opened.enter_context(client)
            if self._is_postgres:
                client.recv(_SSL_REQUEST_BYTES, socket.MSG_WAITALL)
                client.sendall(b"S")
            secured = self.presents.wrap_socket(
                client, server_side=True, do_handshake_on_connect=False
            )
            opened.enter_context(self._kept(secured))
            secured.do_handshake()
            server = socket.create_connection(self._server)
            opened.enter_context(self._kept(server))
            _pass_on(secured, server)

    @contextmanager
    def _kept(self, one: socket.socket) -> Iterator[None]:
        """Let `cut` reach a socket inside the `with` block; close it at the end."""
        with one:
            with self._lock:
                if self._has_ended:
                    raise ConnectionAbortedError
                self._open.add(one)
            try:
                yield
            finally:
                with self._lock:
                    self._open.discard(one)


def _pass_on(secured: ssl.SSLSocket, server: socket.socket) -> None:
    """Pass on what either side sends until one of them ends."""
    while True:
        ready = [secured] if secured.pending() else select([secured, server], [], [])[0]
        for source in ready:
            data = source.recv(_BLOCK_BYTES)
            if not data:
                return
            (server if source is secured else secured).sendall(data)


def _shut_down(one: socket.socket) -> None:
    with suppress(OSError):
        # Not the method of a socket with TLS, which another thread may be using.
        socket.socket.shutdown(one, socket.SHUT_RDWR)
