"""Why a connection with TLS fails, and what to do about it.

Clients only say that it does: librdkafka and libpq report an expired certificate and one of an
unknown authority with the same words, and Elasticsearch's client says "TLS error". So after a
failure, one more connection lets Python's ssl verify the certificate, with the authorities of the
setting. It ends after the handshake.
"""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from schemas.errors import TlsFailed

_TIMEOUT_SECONDS: Final = 2.0
_PLAIN_TIMEOUT_SECONDS: Final = 1.0
_ALERT_SECONDS: Final = 0.5
# OpenSSL's reasons for an answer that is no TLS, by version.
_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
# OpenSSL's `X509_V_ERR_…`.
_EXPIRED: Final = {9, 10}
_OTHER_HOST: Final = {62, 64}


@dataclass(frozen=True, slots=True)
class TlsServer:
    """A server that settings name: where it is, and which of them are about TLS.

    `ca_location` is a file, a folder, or '' for the authorities of this system. `start` is what the
    protocol sends before the handshake. `own` is the certificate that we show: its file, that of
    its key, and the key's password.
    """

    server: str
    host: str
    port: int
    uses_tls: bool
    tls_setting: str
    address_setting: str
    ca_location: str
    ca_setting: str
    start: Callable[[socket.socket], None] = lambda _connection: None
    own: tuple[str, str, str] | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        names = {"kafka": "Kafka", "registry": "the schema registry", "postgres": "PostgreSQL"}
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{names.get(self.server, 'Elasticsearch')} at {host}:{self.port}"


def http_server(server: str, url: str, ca_location: str) -> TlsServer:
    """Return the server at the URL of the setting `<server>_url`."""
    parts = urlsplit(url)
    uses_tls = parts.scheme == "https"
    return TlsServer(
        server=server,
        host=parts.hostname or "",
        port=parts.port or (443 if uses_tls else 80),
        uses_tls=uses_tls,
        tls_setting=f"{server}_url (https)",
        address_setting=f"{server}_url",
        ca_location=ca_location,
        ca_setting=f"{server}_ca_location",
    )


def why_tls_fails(server: TlsServer) -> TlsFailed | None:
    """Return what is wrong with TLS to a server; None if nothing is, or if it does not answer.

    Blocks for at most 4 s; usually for milliseconds.
    """
    try:
        _shake_hands(server)
    except (OSError, ValueError) as error:
        # Not kept in a variable: it refers to this frame, and the cycle would stay in memory until
        # the next collection, which is far away in a projector.
        return _cause(server, error)
    return _cause(server, None)


def _shake_hands(server: TlsServer) -> None:
    timeout_seconds = _TIMEOUT_SECONDS if server.uses_tls else _PLAIN_TIMEOUT_SECONDS
    # First, since a server that is down is the usual case, and reading the authorities of a system
    # takes half a megabyte and tens of milliseconds.
    with socket.create_connection((server.host, server.port), timeout_seconds) as connection:
        context = client_context(server.ca_location)
        if server.own:
            certificate, key, password = server.own
            context.load_cert_chain(certificate, key, lambda: password)
        server.start(connection)
        with context.wrap_socket(connection, server_hostname=server.host) as secured:
            _wait_for_alert(secured)


def _cause(server: TlsServer, error: Exception | None) -> TlsFailed | None:
    """Return what is wrong according to how the handshake ended; None if nothing is."""
    if server.uses_tls:
        return tls_failure(server, error)
    answers = error is None or isinstance(error, ssl.SSLCertVerificationError)
    return tls_required(server) if answers else None


def _wait_for_alert(secured: ssl.SSLSocket) -> None:
    """Raise the alert of a server that misses our certificate: with TLS 1.3 it follows later."""
    secured.settimeout(_ALERT_SECONDS)
    with suppress(TimeoutError):
        secured.recv(1)


def tls_failure(server: TlsServer, error: Exception | None) -> TlsFailed | None:
    """Return what an error of Python's ssl means; None for any other error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _bad_certificate(server, error)
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return tls_missing(server)
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return tls_refused(server, error.reason.replace("_", " ").lower())
    return None


def tls_missing(server: TlsServer) -> TlsFailed:
    """Return the error for a server that answers in plain text."""
    return TlsFailed(
        f"{server.name} does not use TLS, as the setting {server.tls_setting} demands",
        server=server.server,
        code="tls_missing",
        next_step=f"give {server.address_setting} the port that uses TLS, or turn TLS on there",
    )


def tls_required(server: TlsServer) -> TlsFailed:
    """Return the error for a server that demands TLS."""
    return TlsFailed(
        f"{server.name} demands TLS, which the setting {server.tls_setting} does not turn on",
        server=server.server,
        code="tls_required",
        next_step=f"turn it on with {server.tls_setting}, and set {server.ca_setting}",
    )


def tls_refused(server: TlsServer, reason: str) -> TlsFailed:
    """Return the error for a server that ends the handshake with an alert."""
    return TlsFailed(
        f"{server.name} refuses the TLS handshake: {reason}",
        server=server.server,
        code="tls_refused",
        next_step="does it demand a client certificate? its log says what it refuses",
    )


def _bad_certificate(server: TlsServer, error: ssl.SSLCertVerificationError) -> TlsFailed:
    if error.verify_code in _EXPIRED:
        return TlsFailed(
            f"the certificate of {server.name} is not valid now: {error.verify_message}",
            server=server.server,
            code="certificate_expired",
            next_step="renew it on the server, and its authority if that has expired; a process "
            "that is running then continues by itself",
        )
    if error.verify_code in _OTHER_HOST:
        reason = error.verify_message.removesuffix(".")
        return TlsFailed(
            f"the certificate of {server.name} is for another host: {reason}",
            server=server.server,
            code="certificate_mismatch",
            next_step=f"use a name of the certificate in {server.address_setting}, or issue the "
            "certificate for this one",
        )
    issuers = f"of {server.ca_setting}" if server.ca_location else "that this system trusts"
    return TlsFailed(
        f"the certificate of {server.name} is not trusted: it is not issued by an authority "
        f"{issuers} ({error.verify_message})",
        server=server.server,
        code="certificate_untrusted",
        next_step=f"set {server.ca_setting} to the certificate of the authority that issued it",
    )


def client_context(ca_location: str) -> ssl.SSLContext:
    """Return what trusts the authorities in a file or folder; for '', those of the system.

    It always verifies certificates and host names. A file is read once: a client trusts a new
    authority after a restart.
    """
    is_folder = bool(ca_location) and Path(ca_location).is_dir()
    context = ssl.create_default_context(
        cafile=None if is_folder else ca_location or None, capath=ca_location if is_folder else None
    )
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which Python 3.13 turns on, and they do not
    return context
