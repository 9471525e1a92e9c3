"""A caller of the services and what it may do."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NAME_MAX_CHARACTERS: Final = 64
_NAME: Final = re.compile(r"[!-~]{1,64}")
_ADDRESS: Final = re.compile(r"[^@]+@[^@]+\.[^@]+")


class Scope(StrEnum):
    """What a caller may do."""

    COMMANDS = "commands"  # create, change and delete users
    QUERIES = "queries"  # read users, their history and the log of events
    ERASE = "erase"  # erase users, which cannot be undone
    OPERATE = "operate"  # rebuild and swap read models, settle dead letters, verify


ALL_SCOPES: Final = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request. `name` is None where the service requires no key.

    Events keep the name (`issued_by`) for ever, so it is never an e-mail address.
    """

    name: str | None
    scopes: frozenset[Scope]


def check_name(name: str) -> str:
    """Return the name. Raises ValueError, saying why, if events may not keep it."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a name is 1–{NAME_MAX_CHARACTERS} visible ASCII characters")
    if _ADDRESS.fullmatch(name):
        raise ValueError("a name must not be an e-mail address: every event keeps it for ever")
    return name
