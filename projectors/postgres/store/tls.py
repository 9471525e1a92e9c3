"""What libpq means when TLS with PostgreSQL fails: it has no codes for it, only messages."""

import re
import socket
import struct
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from runtime.network.tls import TlsServer, tls_missing, tls_refused, tls_required, why_tls_fails
from runtime.settings import Settings
from schemas.errors import TlsFailed

_AT: Final = re.compile(r'server at "([^"]+)".*?, port (\d+) failed')
_CERTIFICATE: Final = re.compile(
    r"certificate verify failed|does not match host name|root certificate file"
)
_ALERT: Final = re.compile(r"SSL error: ([\w /]*alert[\w ]*)")
_SSL_REQUEST: Final = struct.pack(">ii", 8, 80_877_103)


def tls_trouble(settings: Settings, message: str) -> TlsFailed | None:
    """Return what is wrong with TLS if libpq's message says that something is."""
    parts = conninfo_to_dict(settings.postgres_url)
    at = _AT.search(message)
    ca_location = str(parts.get("sslrootcert", Path("~/.postgresql/root.crt").expanduser()))
    server = TlsServer(
        server="postgres",
        host=at[1] if at else str(parts.get("host", "localhost")),
        port=int(at[2] if at else str(parts.get("port", 5432))),
        uses_tls=True,
        tls_setting="postgres_url (sslmode)",
        address_setting="postgres_url",
        ca_location="" if ca_location == "system" else ca_location,
        ca_setting="postgres_url (sslrootcert)",
        start=_start,
    )
    if "server does not support SSL" in message:
        return tls_missing(server)
    if "no encryption" in message:
        return tls_required(server)
    if alert := _ALERT.search(message):
        return tls_refused(server, alert[1])
    return why_tls_fails(server) if _CERTIFICATE.search(message) else None


def _start(connection: socket.socket) -> None:
    connection.sendall(_SSL_REQUEST)
    connection.recv(1)
