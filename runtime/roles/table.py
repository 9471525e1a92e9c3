"""The roles, and exactly what each needs on each server.

A role is a login of its own on every server that it uses: what it is not granted here, the servers
refuse. The local secure stack applies this table, `rollbook acl show` prints it,
docs/reference/roles.md is generated from it, and tests try every cell.

Nobody needs the permission to register schemas, to create topics, tables or indexes, or to delete
any, while it runs: that is deployment, which the operator does (docs/decisions/0039, 0040).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from runtime.settings import Settings
from schemas.errors import Misconfigured
from schemas.topics import (
    COMMANDS,
    DEAD_LETTERS,
    EMAILS,
    EVENTS,
    HISTORY,
    HOPS,
    OUTCOMES,
    TOPICS,
)

Resource: TypeAlias = Literal["topic", "group", "transactional-id", "cluster"]

# The operations of Kafka, as its tools write them.
DESCRIBE: Final = "Describe"
DESCRIBE_CONFIGS: Final = "DescribeConfigs"
READ: Final = "Read"
WRITE: Final = "Write"
CREATE: Final = "Create"
DELETE: Final = "Delete"

OPERATOR: Final = "operator"
CLIENT: Final = "client"
HANDLER: Final = "handler"
QUERIES: Final = "queries"
REGISTRY: Final = "registry"
PROJECTOR: Final = "projector-"

# The names of ours on the servers, without the prefix of the registry.
HANDLERS_GROUP: Final = "rollbook-handler"
HANDLERS_IDS: Final = "rollbook-handler-"
PROJECTORS_GROUPS: Final = "rollbook-projector-"
REBUILD_GROUPS: Final = "rollbook-rebuild-"
RESTORE_ID: Final = "rollbook-restore"
# Of consumers that join no group: librdkafka asks for its coordinator all the same.
READERS_GROUP: Final = "rollbook-reader"


@dataclass(frozen=True, slots=True)
class KafkaNeed:
    """Operations on one resource of Kafka, or with `prefixed` on all whose names begin with `name`.

    `name` is without the prefix of the registry.
    """

    resource: Resource
    name: str
    operations: Sequence[str]
    prefixed: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """What one login is for and what it needs; an empty text is no access to that server.

    - `schemas`: `look up` schemas, or `register` them and set the rule for their changes too.
    - `postgres`: `read` the read models, `project` (write the rows of one), or `migrate`: own
      schemas and tables.
    - `elasticsearch`: `read`, `project` or `manage` the indexes.
    - `read_model` is the one that a projector writes.
    """

    name: str
    purpose: str
    kafka: Sequence[KafkaNeed]
    schemas: Literal["", "look up", "register"] = "look up"
    postgres: Literal["", "read", "project", "migrate"] = ""
    elasticsearch: Literal["", "read", "project", "manage"] = ""
    read_model: str = ""


def login(settings: Settings, role: str) -> str:
    """Return the name that `role` logs in with: with the prefix, except for the schema registry.

    Several registries may share one schema registry, which has one login of its own.
    """
    return role if role == REGISTRY else settings.named(role)


def roles(settings: Settings) -> Mapping[str, Role]:
    """Return name → role: the fixed ones, and one for the projector of each read model."""
    fixed = {role.name: role for role in _FIXED}
    projectors = [_projector(model) for model in _read_models(settings)]
    return fixed | {role.name: role for role in projectors}


def role_named(settings: Settings, name: str) -> Role:
    """Return the role `name`. Raises `Misconfigured` (`unknown_role`)."""
    known = roles(settings)
    if name not in known:
        raise Misconfigured(
            f"there is no role {name}",
            code="unknown_role",
            next_step=f"known: {', '.join(known)}; a custom read model of the setting read_models "
            "has the role projector-NAME",
        )
    return known[name]


def _topic(name: str, *operations: str) -> KafkaNeed:
    return KafkaNeed("topic", name, operations)


_READER: Final = KafkaNeed("group", READERS_GROUP, (DESCRIBE,))
_CLIENT: Final = Role(
    CLIENT,
    "sends commands and waits for their outcomes: `users create` and the other commands that "
    "change users, imports, `serve commands`",
    (_topic(COMMANDS.name, DESCRIBE, WRITE), _topic(OUTCOMES.name, DESCRIBE, READ), _READER),
)
_HANDLER: Final = Role(
    HANDLER,
    "decides commands: `handler run`; the only process that writes events",
    (
        _topic(COMMANDS.name, DESCRIBE, DESCRIBE_CONFIGS, READ),
        _topic(EVENTS.name, DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE),
        _topic(HISTORY.name, DESCRIBE, DESCRIBE_CONFIGS, WRITE),
        _topic(OUTCOMES.name, DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE),
        _topic(EMAILS.name, DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE),
        _topic(HOPS.name, DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE),
        _topic(DEAD_LETTERS.name, DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE),
        KafkaNeed("group", HANDLERS_GROUP, (DESCRIBE, READ)),
        _READER,
        KafkaNeed("transactional-id", HANDLERS_IDS, (DESCRIBE, WRITE), prefixed=True),
    ),
)
_QUERIES: Final = Role(
    QUERIES,
    "reads: `serve queries`, and the commands that only read, such as `users get`, `users search`, "
    "`events`, `projector status` and `dead-letters list`",
    (
        *(
            _topic(topic.name, DESCRIBE, READ)
            if topic in (EVENTS, HISTORY, DEAD_LETTERS)
            else _topic(topic.name, DESCRIBE)
            for topic in TOPICS
        ),
        _READER,
    ),
    postgres="read",
    elasticsearch="read",
)
# `restore` deletes records that it wrote to these.
_RESTORE_DELETES: Final = (COMMANDS, OUTCOMES)
_OPERATOR: Final = Role(
    OPERATOR,
    "deploys and operates: `topics ensure`, `projector prepare`, rebuilds, swaps and drops, "
    "`dead-letters retry`, `verify`, `doctor`, `backup`, `restore`, `upgrade`, `handler repair`",
    (
        *(
            _topic(
                topic.name,
                *(DESCRIBE, DESCRIBE_CONFIGS, CREATE, READ, WRITE),
                *((DELETE,) if topic in _RESTORE_DELETES else ()),
            )
            for topic in TOPICS
        ),
        KafkaNeed("group", HANDLERS_GROUP, (DESCRIBE, READ)),
        KafkaNeed("group", PROJECTORS_GROUPS, (DESCRIBE, READ, DELETE), prefixed=True),
        KafkaNeed("group", REBUILD_GROUPS, (DESCRIBE, READ), prefixed=True),
        _READER,
        KafkaNeed("transactional-id", RESTORE_ID, (DESCRIBE, WRITE)),
        KafkaNeed("cluster", "kafka-cluster", (DESCRIBE,)),
    ),
    schemas="register",
    postgres="migrate",
    elasticsearch="manage",
)
_SCHEMA_REGISTRY: Final = Role(
    REGISTRY,
    "the schema registry itself, if it keeps its schemas in Kafka as Apicurio does here",
    (
        KafkaNeed(
            "topic", "apicurio-", (DESCRIBE, DESCRIBE_CONFIGS, CREATE, READ, WRITE), prefixed=True
        ),
        KafkaNeed("group", "apicurio-", (DESCRIBE, READ), prefixed=True),
    ),
    schemas="",
)
_FIXED: Final = (_OPERATOR, _CLIENT, _HANDLER, _QUERIES, _SCHEMA_REGISTRY)

# Read model → the topic that it is built from.
_SOURCES: Final = {"postgres": (EVENTS,), "elasticsearch": (EVENTS,), "history": (HISTORY,)}
_IN_ELASTICSEARCH: Final = {"elasticsearch"}


def _read_models(settings: Settings) -> list[str]:
    custom = [entry.partition("=")[0].strip() for entry in settings.read_models.split(",")]
    return [*_SOURCES, *filter(None, custom)]


def _projector(read_model: str) -> Role:
    """Return the role of a read model's projector; a custom one may read either topic of events."""
    read = _SOURCES.get(read_model, (EVENTS, HISTORY))
    topics = []
    for topic in TOPICS:
        reads = (READ,) if topic in (*read, DEAD_LETTERS) else ()
        writes = (WRITE,) if topic == DEAD_LETTERS else ()
        topics.append(_topic(topic.name, DESCRIBE, *reads, *writes))
    searched = read_model in _IN_ELASTICSEARCH
    return Role(
        f"{PROJECTOR}{read_model}",
        f"keeps the read model `{read_model}` up to date: `projector run {read_model}`",
        (
            *topics,
            KafkaNeed(
                "group",
                f"{PROJECTORS_GROUPS}{read_model}-",
                (DESCRIBE, READ, DELETE),
                prefixed=True,
            ),
            KafkaNeed("group", f"{REBUILD_GROUPS}{read_model}", (DESCRIBE,)),
            _READER,
        ),
        postgres="" if searched else "project",
        elasticsearch="project" if searched else "",
        read_model=read_model,
    )
