"""Where a service listens, and what that requires: keys and TLS beyond this machine."""

import socket
import ssl
from dataclasses import dataclass

from runtime.network.addresses import resolve
from runtime.settings import Settings
from schemas.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and the address that clients call; `is_local`: on this machine only."""

    socket: socket.socket
    url: str
    is_local: bool


def listen(settings: Settings, text: str, *, is_open: bool) -> Listener:
    """Bind `HOST:PORT`; port 0 is any free port. `is_open`: anyone who connects may do everything.

    Raises `Misconfigured` if the address cannot be used, or requires keys or TLS that are not set.
    """
    address = resolve(text, "choose another address or port: --listen 127.0.0.1:18082")
    if not address.is_local:
        _require_protection(settings, text, is_open=is_open)
    bound = address.bind()
    scheme = "https" if settings.http_tls_certificate else "http"
    return Listener(bound, address.url(scheme, bound), address.is_local)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the server's TLS context, or None without a certificate. Raises `Misconfigured`."""
    if not settings.http_tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.http_tls_certificate, settings.http_tls_key)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"cannot use the certificate {settings.http_tls_certificate}: {error}",
            code="bad_certificate",
            next_step="correct http_tls_certificate and http_tls_key",
        ) from None
    return context


def _require_protection(settings: Settings, address: str, *, is_open: bool) -> None:
    if is_open:
        raise Misconfigured(
            f"{address} can be reached from other machines, but no keys are set",
            code="open_service",
            next_step="set http_keys_file (`rollbook keys create`), or listen on 127.0.0.1",
        )
    if not (settings.http_tls_certificate or settings.http_trusted_proxies):
        raise Misconfigured(
            f"{address} can be reached from other machines, but keys would travel unencrypted",
            code="no_tls",
            next_step="set http_tls_certificate and http_tls_key, or http_trusted_proxies",
        )
