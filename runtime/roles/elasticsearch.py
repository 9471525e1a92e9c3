"""What a role may do in Elasticsearch, as roles of its own security.

Privileges are given on the names of our indexes and aliases only. An alias that queries use can be
moved only by whoever may manage it, so no projector can make another version live.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from runtime.roles.table import login, roles
from runtime.settings import Settings

# Without the prefix: the alias that is searched, the versions with their aliases, the checkpoints.
SEARCHED: Final = "rollbook-users"
VERSIONS: Final = "rollbook-users-*"
CHECKPOINTS: Final = ("rollbook-checkpoints", "rollbook-checkpoints-1")

# To refresh is `maintenance`: a query that waits for a change makes it visible.
_READ: Final = ("read", "view_index_metadata", "maintenance")
# Kind of access → the cluster's privileges, the names, the privileges on these. `manage` creates
# and deletes indexes too. `monitor` is for the checks of the doctor.
_PRIVILEGES: Final[Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[str]]]] = {
    "read": ((), (SEARCHED, VERSIONS, *CHECKPOINTS), _READ),
    "project": ((), (VERSIONS, *CHECKPOINTS), (*_READ, "write")),
    "manage": (("monitor",), (SEARCHED, VERSIONS, *CHECKPOINTS), ("manage", "read", "write")),
}


def elasticsearch_roles(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return role → what it may do, as the body of `PUT /_security/role/NAME`.

    NAME is `login(settings, role)`; a role without access to Elasticsearch is left out.
    """
    found = {}
    for name, role in roles(settings).items():
        if role.elasticsearch:
            cluster, names, privileges = _PRIVILEGES[role.elasticsearch]
            indices = {"names": [settings.named(one) for one in names], "privileges": [*privileges]}
            found[name] = {"cluster": [*cluster], "indices": [indices]}
    return found


def roles_file(settings: Settings, only: Collection[str] = ()) -> str:
    """Return all roles, or with `only` these, as the file `roles.yml` of a node.

    JSON is YAML, so each role is one line.
    """
    return "".join(
        f"{login(settings, name)}: {json.dumps(body)}\n"
        for name, body in elasticsearch_roles(settings).items()
        if not only or name in only
    )
