"""The roles as text for the tools of each server, and as records for programs.

No password is in either: psql asks for it, and Kafka's tool reads it from a file.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from runtime.roles.elasticsearch import elasticsearch_roles, roles_file
from runtime.roles.kafka import kafka_bindings, kafka_commands
from runtime.roles.postgres import postgres_statements
from runtime.roles.registry import registry_requests
from runtime.roles.table import login, role_named
from runtime.settings import Settings

# Takes the names of the roles that are wanted.
_Records: TypeAlias = Callable[[Settings, Collection[str]], Iterator[dict[str, Any]]]
_Text: TypeAlias = Callable[[Settings, Collection[str]], Iterator[str]]


def _kafka_records(settings: Settings, names: Collection[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        for binding in kafka_bindings(settings, name):
            yield {"role": name, "login": login(settings, name), **asdict(binding)}


def _kafka_text(settings: Settings, names: Collection[str]) -> Iterator[str]:
    servers = settings.kafka_bootstrap_servers
    yield "# Kafka. admin.properties has the login of an administrator; LOGIN.properties has the"
    yield "# password of a new login, in one line: SCRAM-SHA-512=password=…"
    for name in names:
        user = login(settings, name)
        yield f"\n# {role_named(settings, name).purpose.replace('`', '')}"
        yield (
            f"kafka-configs.sh --bootstrap-server {servers} --command-config admin.properties "
            f"--alter --entity-type users --entity-name {user} --add-config-file {user}.properties"
        )
        yield from kafka_commands(settings, name)


def _registry_records(settings: Settings, names: Collection[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        for request in registry_requests(settings, name):
            yield {"role": name, "login": login(settings, name), **asdict(request)}


def _registry_text(settings: Settings, names: Collection[str]) -> Iterator[str]:
    yield f"# Schema registry: what a proxy must let through, below {settings.registry_url}"
    for one in _registry_records(settings, names):
        yield f"{one['login']}: {one['method']} {one['path']}  # {one['purpose']}"


def _postgres_records(settings: Settings, names: Collection[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        for statement in postgres_statements(settings, [name]):
            yield {"role": name, "login": login(settings, name), "statement": statement}


def _postgres_text(settings: Settings, names: Collection[str]) -> Iterator[str]:
    yield "-- PostgreSQL, as a superuser: psql --file FILE DATABASE. It asks for the passwords."
    yield "\\set ON_ERROR_STOP on"
    for name in names:
        if role_named(settings, name).postgres:
            for statement in postgres_statements(settings, [name]):
                yield f"{statement};"
            yield f'\\password "{login(settings, name)}"'


def _elasticsearch_records(settings: Settings, names: Collection[str]) -> Iterator[dict[str, Any]]:
    for name, body in elasticsearch_roles(settings).items():
        if name in names:
            yield {"role": name, "login": login(settings, name), "body": body}


def _elasticsearch_text(settings: Settings, names: Collection[str]) -> Iterator[str]:
    yield "# Elasticsearch: config/roles.yml of each node. On each node, these commands create the"
    yield "# logins, and ask for their passwords:"
    for one in _elasticsearch_records(settings, names):
        yield f"#   bin/elasticsearch-users useradd {one['login']} -r {one['login']}"
    yield from roles_file(settings, names).splitlines()


RECORDS: Final[Mapping[str, _Records]] = {
    "kafka": _kafka_records,
    "registry": _registry_records,
    "postgres": _postgres_records,
    "elasticsearch": _elasticsearch_records,
}
TEXTS: Final[Mapping[str, _Text]] = {
    "kafka": _kafka_text,
    "registry": _registry_text,
    "postgres": _postgres_text,
    "elasticsearch": _elasticsearch_text,
}
