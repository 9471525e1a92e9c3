"""What a role may do in Kafka, as access control entries and as commands for `kafka-acls.sh`."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from confluent_kafka.admin._acl import AclOperation

from runtime.roles.table import REGISTRY, Resource, login, role_named
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Binding:
    """One entry that allows the login of a role one operation, from any host."""

    resource: Resource
    name: str
    pattern: Literal["literal", "prefixed"]
    operation: str


_OPTIONS: Final = {"topic": "--topic", "group": "--group", "transactional-id": "--transactional-id"}


def kafka_bindings(settings: Settings, role: str) -> list[Binding]:
    """Return everything that `role` is allowed; brokers deny the rest."""
    return [
        Binding(
            need.resource,
            # The schema registry's own topics are shared by all registries.
            need.name
            if need.resource == "cluster" or role == REGISTRY
            else settings.named(need.name),
            "prefixed" if need.prefixed else "literal",
            operation,
        )
        for need in role_named(settings, role).kafka
        for operation in need.operations
    ]


def acl_operations(operations: Iterable[str]) -> list[AclOperation]:
    """Return operations of the table as the client library has them."""
    return [AclOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", one).upper()] for one in operations]


def needed_on_topics(settings: Settings, role: str) -> dict[str, list[AclOperation]]:
    """Return topic name, with the prefix → the operations on it that `role` needs."""
    return {
        settings.named(need.name): acl_operations(need.operations)
        for need in role_named(settings, role).kafka
        if need.resource == "topic"
    }


def kafka_commands(settings: Settings, role: str) -> Iterator[str]:
    """Yield a command of Kafka for each resource that grants `role` what it needs there.

    Repeating one changes nothing. They do not create the login, because that takes a password.
    """
    by_resource: dict[tuple[Resource, str, str], list[str]] = {}
    for one in kafka_bindings(settings, role):
        by_resource.setdefault((one.resource, one.name, one.pattern), []).append(one.operation)
    for (resource, name, pattern), operations in by_resource.items():
        on = ["--cluster"] if resource == "cluster" else [_OPTIONS[resource], name]
        arguments = [
            *("kafka-acls.sh", "--bootstrap-server", settings.kafka_bootstrap_servers),
            *("--command-config", "admin.properties", "--add"),
            *("--allow-principal", f"User:{login(settings, role)}"),
            *(part for operation in operations for part in ("--operation", operation)),
            *on,
            *(("--resource-pattern-type", pattern) if pattern == "prefixed" else ()),
        ]
        yield shlex.join(arguments)
