"""What our services run with on a secure stack: each with the login of its role."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from runtime.roles.table import CLIENT, OPERATOR
from runtime.settings import Settings
from scripts.stack.record import ensure_key
from scripts.stack.secure.logins import write_console
from scripts.stack.secure.roles import grant_roles

# Where the role has another name than the service.
_ROLES: Final = {"commands": CLIENT, "operations": OPERATOR}


def service_files(stack: Path, settings: Settings, services: Iterable[str]) -> dict[str, Path]:
    """Return service → the file of its settings; create the logins for this prefix.

    The console calls other services with the keys of those who sign in, so it has no login.
    """
    ensure_key(stack)
    files = {**grant_roles(stack, settings), "console": write_console(stack)}
    return {name: files[_ROLES.get(name, name)] for name in services}


def prepare_read_models(settings: Settings) -> None:
    """With the operator's settings, create the tables and indexes that projectors only write to."""
    from projectors.catalog import open_versions, read_models

    for name in read_models(settings):
        with closing(open_versions(settings, name)) as versions:
            versions.begin()
