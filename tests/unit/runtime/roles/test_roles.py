"""The roles and what the servers are told of them: exactly what each needs, under our names."""

import json
import re

import pytest
import yaml

from producers.handler.members import GROUP
from projectors.catalog import OURS
from projectors.elasticsearch.index import indexes
from projectors.engine.subscription import group_of
from projectors.versions import rebuild_lock
from runtime.roles.elasticsearch import elasticsearch_roles, roles_file
from runtime.roles.kafka import Binding, kafka_bindings, kafka_commands
from runtime.roles.postgres import postgres_statements, version_grants
from runtime.roles.registry import registry_requests
from runtime.roles.table import (
    CLIENT,
    DELETE,
    HANDLER,
    OPERATOR,
    QUERIES,
    REGISTRY,
    WRITE,
    KafkaNeed,
    login,
    roles,
)
from runtime.settings import Settings
from schemas.coding.codec import schema_text
from schemas.errors import Misconfigured
from schemas.topics import SCHEMAS

SETTINGS = Settings(prefix="acme")
ALL = roles(SETTINGS)


def may(role: str, method: str, path: str) -> bool:
    return any(one.matches(method, path) for one in registry_requests(SETTINGS, role))


def test_a_client_may_write_commands_and_read_outcomes_and_nothing_else() -> None:
    assert kafka_bindings(SETTINGS, CLIENT) == [
        Binding("topic", "acme-user-commands", "literal", "Describe"),
        Binding("topic", "acme-user-commands", "literal", "Write"),
        Binding("topic", "acme-user-outcomes", "literal", "Describe"),
        Binding("topic", "acme-user-outcomes", "literal", "Read"),
        Binding("group", "acme-rollbook-reader", "literal", "Describe"),
    ]
    assert (ALL[CLIENT].postgres, ALL[CLIENT].elasticsearch) == ("", "")


def test_only_the_handler_and_the_operator_may_write_events() -> None:
    writers = {
        name
        for name in ALL
        for one in kafka_bindings(SETTINGS, name)
        if one.name == "acme-user-events" and one.operation == WRITE
    }
    assert writers == {HANDLER, OPERATOR}


def test_queries_may_write_nowhere() -> None:
    assert {one.operation for one in kafka_bindings(SETTINGS, QUERIES)} == {"Describe", "Read"}
    assert (ALL[QUERIES].postgres, ALL[QUERIES].elasticsearch) == ("read", "read")


def test_no_running_process_may_delete_a_topic() -> None:
    deleters = {n for n, r in ALL.items() for k in r.kafka if DELETE in k.operations}
    groups = {k.resource for n in ALL for k in ALL[n].kafka if DELETE in k.operations}
    assert deleters == {OPERATOR, *(name for name in ALL if name.startswith("projector-"))}
    assert groups == {"group", "topic"}
    assert not any(
        DELETE in need.operations and need.resource == "topic"
        for name, role in ALL.items()
        if name != OPERATOR
        for need in role.kafka
    )


def test_the_table_names_groups_as_the_code_does() -> None:
    assert KafkaNeed("group", GROUP, ("Describe", "Read")) in ALL[HANDLER].kafka
    for name in OURS:
        groups = [one.name for one in ALL[f"projector-{name}"].kafka if one.resource == "group"]
        assert groups == [
            group_of(name, 1).removesuffix("1"),
            rebuild_lock._group(Settings(), name),
            "rollbook-reader",
        ]


def test_the_names_in_elasticsearch_are_those_of_the_read_model() -> None:
    [indices] = elasticsearch_roles(SETTINGS)[OPERATOR]["indices"]
    assert indices["names"] == [
        SETTINGS.named(indexes.USERS_ALIAS),
        indexes.users_index(SETTINGS, 7).replace("7", "*"),
        SETTINGS.named(indexes.CHECKPOINTS_ALIAS),
        SETTINGS.named(indexes.CHECKPOINTS_INDEX),
    ]


def test_a_projector_cannot_move_the_alias_that_is_searched() -> None:
    [indices] = elasticsearch_roles(SETTINGS)["projector-elasticsearch"]["indices"]
    assert "acme-rollbook-users" not in indices["names"]
    assert "manage" not in indices["privileges"]


def test_the_file_of_roles_is_yaml_under_the_names_of_the_logins() -> None:
    found = yaml.safe_load(roles_file(SETTINGS))
    bodies = elasticsearch_roles(SETTINGS)
    assert found == {f"acme-{name}": body for name, body in bodies.items()}
    json.dumps(bodies)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_role_looks_schemas_up_and_only_the_operator_registers_them(name: str) -> None:
    subject = f"rollbook.{json.loads(schema_text(name))['name']}"
    for role in set(ALL) - {REGISTRY}:
        assert may(role, "POST", f"/subjects/{subject}")
        assert may(role, "GET", "/schemas/ids/17")
        assert may(role, "POST", f"/subjects/{subject}/versions") == (role == OPERATOR)
        assert may(role, "PUT", f"/config/{subject}") == (role == OPERATOR)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/subjects/rollbook.UserEvent"),
        ("PUT", "/config"),
        ("PUT", "/mode"),
        ("POST", "/subjects/other.UserEvent/versions"),
        ("POST", "/subjects/rollbook.UserEvent/versions/../../other/versions"),
        ("GET", "/schemas/ids/17\n"),
    ],
)
def test_nobody_may_send_the_registry_anything_else(method: str, path: str) -> None:
    assert not any(may(role, method, path) for role in ALL)


def test_a_custom_read_model_has_a_role() -> None:
    custom = Settings(read_models="adults=mine.adults:Adults")
    assert "projector-adults" in roles(custom)
    assert "projector-adults" in "".join(postgres_statements(custom))


def test_an_unknown_role_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(Misconfigured, match="there is no role writer") as raised:
        kafka_bindings(SETTINGS, "writer")
    assert raised.value.code == "unknown_role"
    assert "projector-history" in raised.value.next_step


def test_logins_have_the_prefix_and_that_of_the_schema_registry_has_none() -> None:
    assert (login(SETTINGS, HANDLER), login(Settings(), HANDLER)) == ("acme-handler", "handler")
    assert login(SETTINGS, REGISTRY) == "registry"
    assert {one.name for one in kafka_bindings(SETTINGS, REGISTRY)} == {"apicurio-"}


def test_the_commands_for_kafka_grant_each_binding() -> None:
    for role in ALL:
        granted = [
            (match[2].removeprefix("--"), match[3], operation)
            for line in kafka_commands(SETTINGS, role)
            if (match := re.search(r"(--cluster|--(\S+) (\S+))(?: --resource\S+ \S+)?$", line))
            for operation in re.findall(r"--operation (\S+)", line)
            if match[2]
        ]
        expected = [
            (one.resource, one.name, one.operation)
            for one in kafka_bindings(SETTINGS, role)
            if one.resource != "cluster"
        ]
        assert granted == expected


def test_a_new_version_is_granted_to_its_projector_and_to_queries_only() -> None:
    granted = version_grants(SETTINGS, "postgres", 2)
    assert set(granted) == {"acme-projector-postgres", "acme-queries"}
    writes = "".join(one.as_string(None) for one in granted["acme-projector-postgres"])
    reads = "".join(one.as_string(None) for one in granted["acme-queries"])
    assert '"acme_rollbook_postgres_2" TO "acme-projector-postgres"' in writes
    assert "INSERT" in writes
    assert "INSERT" not in reads
    assert not re.search(r"CREATE|TRUNCATE|OWNER|GRANT OPTION", writes + reads)


def test_no_statement_or_command_has_a_password() -> None:
    commands = [line for role in ALL for line in kafka_commands(SETTINGS, role)]
    assert not re.search(
        "password", "".join([*postgres_statements(SETTINGS), *commands]), re.IGNORECASE
    )
