"""Addresses to listen on: `HOST:PORT` read, resolved and bound."""

import os
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from schemas.errors import Misconfigured

_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on; `text` is `HOST:PORT` as it was given, `remedy` what to change."""

    text: str
    host: str
    remedy: str
    family: socket.AddressFamily
    place: tuple[str, int]

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return ip_address(self.place[0].partition("%")[0]).is_loopback

    def bind(self) -> socket.socket:
        """Return a socket that listens; port 0 is any free port. Raises `Misconfigured`."""
        bound = socket.socket(self.family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(self.place)
            bound.listen(2048)
        except OSError as error:
            bound.close()
            raise _cannot(self.text, os.strerror(error.errno or 0), self.remedy) from None
        return bound

    def url(self, scheme: str, bound: socket.socket) -> str:
        """Return the URL that clients call."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{shown}:{bound.getsockname()[1]}"


def resolve(text: str, remedy: str) -> Address:
    """Return the address of `HOST:PORT` or `[IPV6]:PORT`; `remedy` says what to change otherwise.

    Raises `Misconfigured` (`cannot_listen`).
    """
    parsed = parse_address(text)
    if parsed is None:
        raise Misconfigured(
            f"cannot listen at {text!r}: it is not HOST:PORT",
            code="cannot_listen",
            next_step=remedy,
        )
    host, port = parsed
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise _cannot(text, "the name of the host is not known", remedy) from None
    family, _, _, _, place = found[0]
    return Address(text, host, remedy, family, (str(place[0]), int(place[1])))


def parse_address(text: str) -> tuple[str, int] | None:
    """Return the host and port of `HOST:PORT` or `[IPV6]:PORT`; None if it is neither."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    is_port = port.isascii() and port.isdigit() and int(port) <= _MOST_PORT
    return (host, int(port)) if host and colon and is_port else None


def _cannot(text: str, why: str, remedy: str) -> Misconfigured:
    return Misconfigured(f"cannot listen at {text}: {why}", code="cannot_listen", next_step=remedy)
