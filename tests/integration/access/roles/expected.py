"""What each role may do on each server, as data: whatever is not listed here must be refused.

Written from what the processes do, not from `runtime.roles`, which it checks. Names are without the
prefix of the registry.
"""

from typing import Final

ROLES: Final = (
    "operator",
    "client",
    "handler",
    "projector-postgres",
    "projector-elasticsearch",
    "projector-history",
    "queries",
)

# Role → topic → operations. Every other operation on every other topic is refused.
_READ: Final = "Describe Read"
_PROJECTOR: Final = {
    "user-commands": "Describe",
    "user-events": "Describe",
    "user-history": "Describe",
    "user-outcomes": "Describe",
    "user-emails": "Describe",
    "user-hops": "Describe",
    "user-dead-letters": "Describe Read Write",
}
_OPERATOR: Final = "Describe DescribeConfigs Create Read Write"
TOPICS: Final[dict[str, dict[str, str]]] = {
    "operator": {
        "user-commands": f"{_OPERATOR} Delete",
        "user-events": _OPERATOR,
        "user-history": _OPERATOR,
        "user-outcomes": f"{_OPERATOR} Delete",
        "user-emails": _OPERATOR,
        "user-hops": _OPERATOR,
        "user-dead-letters": _OPERATOR,
    },
    "client": {"user-commands": "Describe Write", "user-outcomes": _READ},
    "handler": {
        "user-commands": "Describe DescribeConfigs Read",
        "user-events": "Describe DescribeConfigs Read Write",
        "user-history": "Describe DescribeConfigs Write",
        "user-outcomes": "Describe DescribeConfigs Read Write",
        "user-emails": "Describe DescribeConfigs Read Write",
        "user-hops": "Describe DescribeConfigs Read Write",
        "user-dead-letters": "Describe DescribeConfigs Read Write",
    },
    "projector-postgres": _PROJECTOR | {"user-events": _READ},
    "projector-elasticsearch": _PROJECTOR | {"user-events": _READ},
    "projector-history": _PROJECTOR | {"user-history": _READ},
    "queries": {
        "user-commands": "Describe",
        "user-events": _READ,
        "user-history": _READ,
        "user-outcomes": "Describe",
        "user-emails": "Describe",
        "user-hops": "Describe",
        "user-dead-letters": _READ,
    },
}
# Role → group → operations.
_PROJECTORS: Final = "Describe Read Delete"
# Of every consumer that joins no group.
_READER: Final = {"rollbook-reader": "Describe"}
GROUPS: Final[dict[str, dict[str, str]]] = {
    "client": _READER,
    "queries": _READER,
    "operator": _READER
    | {
        "rollbook-handler": "Describe Read",
        "rollbook-projector-postgres-1": _PROJECTORS,
        "rollbook-projector-elasticsearch-1": _PROJECTORS,
        "rollbook-projector-history-1": _PROJECTORS,
        "rollbook-rebuild-postgres": "Describe Read",
        "rollbook-rebuild-elasticsearch": "Describe Read",
        "rollbook-rebuild-history": "Describe Read",
    },
    "handler": _READER | {"rollbook-handler": "Describe Read"},
    "projector-postgres": _READER
    | {
        "rollbook-projector-postgres-1": _PROJECTORS,
        "rollbook-rebuild-postgres": "Describe",
    },
    "projector-elasticsearch": _READER
    | {
        "rollbook-projector-elasticsearch-1": _PROJECTORS,
        "rollbook-rebuild-elasticsearch": "Describe",
    },
    "projector-history": _READER
    | {
        "rollbook-projector-history-1": _PROJECTORS,
        "rollbook-rebuild-history": "Describe",
    },
}
TRANSACTIONAL_IDS: Final = {"operator": "rollbook-restore", "handler": "rollbook-handler-a"}
CLUSTER: Final = {"operator": "Describe"}

# Every login may find the id of each schema, and read schemas by id.
LOOK_UP: Final = "look-up read-rule"
REGISTER: Final = "register set-rule"
READ_PATHS: Final = (
    "/apis/ccompat/v7/subjects",
    "/apis/ccompat/v7/schemas/ids/1",
    # A rule of the registry's cannot end after a number; this names the subjects of a schema.
    "/apis/ccompat/v7/schemas/ids/1/versions",
)

# Role → schema.table → operations; a name without a table is of the schema itself.
_ROWS: Final = "SELECT INSERT UPDATE DELETE REINDEX"
_TABLE: Final = f"{_ROWS} TRUNCATE ALTER DROP GRANT"
_VIEW: Final = "SELECT UPDATE DELETE ALTER DROP GRANT"
_SUM: Final = "SELECT ALTER DROP GRANT"  # nobody can change a row of it
_SCHEMA: Final = "CREATE-TABLE CREATE-VIEW ALTER-SCHEMA DROP-SCHEMA GRANT-USAGE"
_VERSIONS: Final = {"home.bookkeeping": "SELECT", "home.model_versions": "SELECT"}
POSTGRES: Final[dict[str, dict[str, str]]] = {
    "operator": {
        "home": _SCHEMA,
        "home.bookkeeping": _TABLE,
        "home.model_versions": _TABLE,
        "home.history_checkpoints": _VIEW,
        "home.postgres_checkpoints": _VIEW,
        "home.user_history": _VIEW,
        "home.user_summary": _SUM,
        "home.user_views": _VIEW,
        "postgres_1": _SCHEMA,
        "postgres_1.checkpoints": _TABLE,
        "postgres_1.counters": _TABLE,
        "postgres_1.users": _TABLE,
        "postgres_1.user_summary": _SUM,
        "postgres_1.user_views": _VIEW,
        "history_1": _SCHEMA,
        "history_1.checkpoints": _TABLE,
        "history_1.user_history": _TABLE,
        "server": "CREATE-SCHEMA CREATE-TEMPORARY-TABLE",
    },
    "projector-postgres": _VERSIONS
    | {
        "postgres_1.checkpoints": _ROWS,
        "postgres_1.counters": _ROWS,
        "postgres_1.users": _ROWS,
        "postgres_1.user_summary": "SELECT",
        "postgres_1.user_views": "SELECT UPDATE DELETE",
        "server": "CREATE-TEMPORARY-TABLE",
    },
    "projector-history": _VERSIONS
    | {
        "history_1.checkpoints": _ROWS,
        "history_1.user_history": _ROWS,
        "server": "CREATE-TEMPORARY-TABLE",
    },
    "queries": _VERSIONS
    | {
        "home.history_checkpoints": "SELECT",
        "home.postgres_checkpoints": "SELECT",
        "home.user_history": "SELECT",
        "home.user_summary": "SELECT",
        "home.user_views": "SELECT",
        "postgres_1.checkpoints": "SELECT",
        "postgres_1.counters": "SELECT",
        "postgres_1.users": "SELECT",
        "postgres_1.user_summary": "SELECT",
        "postgres_1.user_views": "SELECT",
        "history_1.checkpoints": "SELECT",
        "history_1.user_history": "SELECT",
    },
}

# Role → label of an index → operations.
_SEARCH: Final = (
    "search get explain point-in-time read-mapping read-settings refresh mget-by-body "
    "msearch-by-body"
)
_DOCUMENTS: Final = f"{_SEARCH} index update delete-document bulk bulk-by-body"
# In Elasticsearch, `write` includes adding fields to a mapping.
_WRITE: Final = f"{_DOCUMENTS} change-mapping"
_MANAGE: Final = f"{_WRITE} change-settings"
ELASTICSEARCH: Final[dict[str, dict[str, str]]] = {
    "operator": {
        "searched": f"{_MANAGE} alias",
        "version": f"{_MANAGE} alias",
        "checkpoints": _MANAGE,
        "cluster": "cluster-health read-cluster-settings list-nodes list-tasks "
        "create-rollbook-users-99 delete-rollbook-users-99",
    },
    "projector-elasticsearch": {"version": _WRITE, "checkpoints": _WRITE},
    "queries": {"searched": _SEARCH, "version": _SEARCH, "checkpoints": _SEARCH},
}
