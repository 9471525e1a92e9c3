"""Which role runs a command of `rollbook`, for tests on a stack whose servers demand logins.

With `ROLLBOOK_TEST_SECURE=1` the shared stack is a secure one, and every process that a test starts
logs in as its role. The test itself has the operator's login.
"""

import os
from collections.abc import Sequence
from typing import Final

from runtime.roles.table import CLIENT, HANDLER, OPERATOR, PROJECTOR, QUERIES

SECURE: Final = os.environ.get("ROLLBOOK_TEST_SECURE") == "1"

_CHANGES: Final = ("create", "update", "change-email", "delete", "erase", "import")
# A command, or all that begin with a word, → its role; the others are the operator's.
_ROLES: Final = {
    **{f"users {change}": CLIENT for change in _CHANGES},
    "users": QUERIES,
    "events": QUERIES,
    "handler run": HANDLER,
    "projector status": QUERIES,
    "projector versions": QUERIES,
    "dead-letters list": QUERIES,
    "serve commands": CLIENT,
    "serve queries": QUERIES,
}
# The files of roles have keys and a certificate for services. Tests of what services answer need
# neither; those in `tests/integration/access/test_services.py` do.
OPEN_SERVICES: Final = {
    "ROLLBOOK_HTTP_KEYS_FILE": "",
    "ROLLBOOK_HTTP_TLS_CERTIFICATE": "",
    "ROLLBOOK_HTTP_TLS_KEY": "",
}
# To wait for read models is to read them, which no client may.
_OPERATOR_ONLY: Final = {"--operations", "--wait"}


def role_of(arguments: Sequence[str]) -> str:
    """Return the role for the arguments of a command."""
    first, second, third = [*arguments, "", "", ""][:3]
    if (first, second) == ("projector", "run"):
        return f"{PROJECTOR}{third}"
    if not _OPERATOR_ONLY.isdisjoint(arguments):
        return OPERATOR
    return _ROLES.get(f"{first} {second}") or _ROLES.get(first, OPERATOR)
