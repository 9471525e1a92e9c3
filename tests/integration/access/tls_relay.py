"""A relay that adds TLS in front of a real server, with any certificate, good or bad."""

import asyncio
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
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
        self._host, port = server.rsplit(":", 1)
        self._port = int(port)
        self._is_postgres = is_postgres
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._listener = asyncio.run_coroutine_threadsafe(started, self._loop).result()
        self.port = int(self._listener.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._listener.close)
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """End all connections: clients come back and see the certificate of now."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    async def _cut(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await self._relay(reader, writer)
        finally:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_postgres:
            await reader.readexactly(_SSL_REQUEST_BYTES)
            writer.write(b"S")
        await writer.start_tls(self.presents)
        server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, server_writer))
                both.create_task(_pump(server_reader, writer))
        except* OSError:
            pass
        finally:
            server_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BLOCK_BYTES):
        writer.write(data)
        await writer.drain()
    raise ConnectionError  # ends the other direction
