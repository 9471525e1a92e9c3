"""Where a service listens, and what that requires: keys and TLS beyond this machine."""

import os
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address

from runtime.settings import Settings
from schemas.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and the address that clients call; `is_local`: on this machine only."""

    socket: socket.socket
    url: str
    is_local: bool


def listen(settings: Settings, address: str, *, is_open: bool) -> Listener:
    """Bind `HOST:PORT`; port 0 is any free port. `is_open`: anyone who connects may do everything.

    Raises `Misconfigured` if the address cannot be used, or requires keys or TLS that are not set.
    """
    host, port = parse_address(address)
    family, place = _resolve(host, port)
    is_local = ip_address(place[0].partition("%")[0]).is_loopback
    if not is_local:
        _require_protection(settings, address, is_open=is_open)
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(place)
        bound.listen(2048)
    except OSError as error:
        bound.close()
        raise _cannot(address, os.strerror(error.errno or 0)) from None
    scheme = "https" if settings.http_tls_certificate else "http"
    shown = f"[{host}]" if ":" in host else host
    return Listener(bound, f"{scheme}://{shown}:{bound.getsockname()[1]}", is_local)


def parse_address(text: str) -> tuple[str, int]:
    """Return the host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises `Misconfigured`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65_536):  # noqa: PLR2004
        raise Misconfigured(
            f"cannot listen at {text!r}: it is not HOST:PORT",
            code="cannot_listen",
            next_step="for example --listen 127.0.0.1:18082",
        )
    return host, int(port)


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


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise _cannot(f"{host}:{port}", "the name of the host is not known") from None
    family, _, _, _, place = found[0]
    return family, (str(place[0]), int(place[1]))


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


def _cannot(address: str, why: str) -> Misconfigured:
    return Misconfigured(
        f"cannot listen at {address}: {why}",
        code="cannot_listen",
        next_step="choose another address or port with --listen",
    )
