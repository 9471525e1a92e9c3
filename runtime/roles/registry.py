"""Which requests a role may send to a schema registry with Confluent's API.

Many registries have no permissions of their own, so a proxy in front of them decides by method and
path. `POST /subjects/S` looks a schema up by its text; only `POST /subjects/S/versions` registers.
"""

import re
from dataclasses import dataclass
from typing import Final

from runtime.roles.table import role_named
from runtime.settings import Settings

# Every schema of ours; anyone else's on the same registry is none of our business.
_SUBJECT: Final = r"rollbook\.[A-Za-z]+"


@dataclass(frozen=True, slots=True)
class Request:
    """A method, and the pattern of a path below the URL of the setting `registry_url`."""

    method: str
    path: str
    purpose: str

    def matches(self, method: str, path: str) -> bool:
        """Return whether this permits a request; `path` begins with a slash, without a query."""
        return method == self.method and re.fullmatch(self.path, path, re.ASCII) is not None


_LOOK_UP: Final = (
    Request("POST", rf"/subjects/{_SUBJECT}", "look up the id of a schema by its text"),
    Request("GET", r"/schemas/ids/[0-9]+", "read the schema of an id"),
    Request("GET", r"/subjects", "find out whether this is a registry"),
    Request("GET", rf"/config/{_SUBJECT}", "read the rule for changes"),
)
_REGISTER: Final = (
    Request("POST", rf"/subjects/{_SUBJECT}/versions", "register a schema"),
    Request("PUT", rf"/config/{_SUBJECT}", "set the rule for changes"),
)


def registry_requests(settings: Settings, role: str) -> tuple[Request, ...]:
    """Return all requests that `role` may send."""
    schemas = role_named(settings, role).schemas
    return {"": (), "look up": _LOOK_UP, "register": (*_LOOK_UP, *_REGISTER)}[schemas]
