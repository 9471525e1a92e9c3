"""Each role is permitted exactly what `expected` lists, on every topic, schema, table and index.

Each attempt is a real request with the login of the role. At the end, a table says how many there
were for each role and server, and how many of them were refused.
"""

import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final

import pytest

from projectors.catalog import open_versions, read_models
from runtime.settings import Settings, load_settings
from runtime.topics.admin import ensure_topics
from schemas.topics import TOPICS
from scripts.stack.native.local import LocalStack
from scripts.stack.secure.roles import grant_roles, revoke_roles
from tests.conftest import SECURE_SERVERS, delete_topics
from tests.depth import DEEP, depth
from tests.integration.access.roles import elasticsearch, expected, postgres, registry
from tests.integration.access.roles.kafka import KafkaLogin
from tests.integration.access.roles.web import Attempts

QUICK_ROLES: Final = ("client", "projector-postgres")
_GROUPS: Final = tuple(expected.GROUPS["operator"])


@dataclass
class Registry:
    """A registry with all topics, tables and indexes: the settings of each role, and its name."""

    prefix: str
    settings: dict[str, Settings] = field(default_factory=dict)

    def named(self, name: str) -> str:
        """Return the name of a topic, group, login or index on the servers."""
        return f"{self.prefix}-{name}"

    def schema(self, rest: str = "") -> str:
        """Return the name of a PostgreSQL schema."""
        return f"{self.prefix}_rollbook{rest}"


@pytest.fixture(scope="module")
def registries(secure_stack: LocalStack) -> Iterator[tuple[Registry, Registry]]:
    """Two registries on one stack, so that the roles of one can try what belongs to the other."""
    both = [Registry(f"t{uuid.uuid4().hex[:10]}") for _ in range(2)]
    administrator = load_settings(config=str(secure_stack.directory / "admin.toml")).settings
    try:
        for one in both:
            _prepare(secure_stack, one)
        yield both[0], both[1]
    finally:
        for one in both:
            delete_topics(replace(administrator, prefix=one.prefix))
            mine = replace(Settings(), prefix=one.prefix)
            revoke_roles(secure_stack.directory, mine, servers=SECURE_SERVERS)


def _prepare(stack: LocalStack, one: Registry) -> None:
    mine = replace(Settings(), prefix=one.prefix)
    files = grant_roles(stack.directory, mine, servers=SECURE_SERVERS)
    one.settings = {role: load_settings(config=str(file)).settings for role, file in files.items()}
    operator = one.settings["operator"]
    ensure_topics(operator)
    for model in read_models(operator):
        if model != "elasticsearch" or model in SECURE_SERVERS:
            with closing(open_versions(operator, model)) as versions:
                versions.begin()


@pytest.fixture(scope="module")
def counts() -> Iterator[dict[tuple[str, str], Attempts]]:
    """Role and server → what was tried; printed at the end."""
    found: dict[tuple[str, str], Attempts] = {}
    yield found
    for (role, server), attempts in sorted(found.items()):
        refused = sum(not permitted for permitted in attempts.values())
        sys.stdout.write(f"{role}, {server}: {len(attempts)} attempts, {refused} refused\n")


def check(found: Attempts, allowed: Mapping[str, str]) -> None:
    """Fail unless exactly what is allowed (place → operations) was permitted."""
    wanted = {(what, where) for where, whats in allowed.items() for what in whats.split()}
    permitted = {cell for cell, is_permitted in found.items() if is_permitted}
    assert {"permitted": permitted - wanted, "refused": wanted - permitted} == {
        "permitted": set(),
        "refused": set(),
    }


@pytest.mark.parametrize("role", depth(QUICK_ROLES, expected.ROLES))
def test_kafka(
    role: str, registries: tuple[Registry, Registry], counts: dict[tuple[str, str], Attempts]
) -> None:
    mine, other = registries
    login = KafkaLogin(mine.settings[role])
    readable = next(
        topic for topic, what in expected.TOPICS[role].items() if "Read" in what.split()
    )
    topics = [mine.named(topic.name) for topic in TOPICS]
    topics += [other.named(topic.name) for topic in TOPICS]
    groups = [*map(mine.named, _GROUPS), other.named("rollbook-handler"), "foreign"]
    ids = [
        *map(mine.named, expected.TRANSACTIONAL_IDS.values()),
        *(other.named("rollbook-handler-a"), "foreign"),
    ]
    found = {
        "topic": login.topics(topics),
        "group": login.groups(groups, mine.named(readable)),
        "id": login.transactional_ids(ids),
    }
    cluster = login.cluster()
    allowed = {
        "topic": expected.TOPICS[role],
        "group": expected.GROUPS.get(role, {}),
        "id": {name: "Write" for of, name in expected.TRANSACTIONAL_IDS.items() if of == role},
    }
    for kind, attempts in found.items():
        check(attempts, {mine.named(name): what for name, what in allowed[kind].items()})
    check(cluster, {"cluster": expected.CLUSTER.get(role, "")})
    assert [len(attempts) for attempts in found.values()] == [112, 30, 4]
    counts[role, "kafka"] = found["topic"] | found["group"] | found["id"] | cluster


@pytest.mark.parametrize("role", depth(("queries", "projector-postgres"), expected.ROLES))
def test_postgres(
    role: str, registries: tuple[Registry, Registry], counts: dict[tuple[str, str], Attempts]
) -> None:
    """A role that is not listed cannot log in."""
    mine, other = registries
    schemas = {
        "home": mine.schema(),
        "postgres_1": mine.schema("_postgres_1"),
        "history_1": mine.schema("_history_1"),
        "other home": other.schema(),
        "other postgres_1": other.schema("_postgres_1"),
    }
    logins = [mine.named(name) for name in expected.POSTGRES if name != role]
    logins += [*map(other.named, expected.POSTGRES), "admin"]
    if role not in expected.POSTGRES:
        assert postgres.is_refused(mine.settings[role])
        return
    found = postgres.attempts(mine.settings[role], schemas, logins)
    check(found, expected.POSTGRES[role])
    counts[role, "postgres"] = found


@pytest.mark.skipif(not DEEP, reason="`make test` starts no second registry")
@pytest.mark.parametrize("role", expected.ROLES)
def test_registry(
    role: str, registries: tuple[Registry, Registry], counts: dict[tuple[str, str], Attempts]
) -> None:
    settings = registries[0].settings[role]
    login = (settings.registry_username, settings.registry_password)
    found = registry.attempts(settings, login)
    subjects = {where for what, where in found if what == "look-up"}
    what = f"{expected.LOOK_UP} {expected.REGISTER if role == 'operator' else ''}"
    check(found, dict.fromkeys(subjects, what) | dict.fromkeys(expected.READ_PATHS, "GET"))
    assert len(subjects) == 7
    counts[role, "registry"] = found


@pytest.mark.skipif(not DEEP, reason="`make test` starts no second registry")
def test_the_registry_refuses_nobody_and_disguised_requests(
    registries: tuple[Registry, Registry],
) -> None:
    settings = registries[0].settings["client"]
    right = (settings.registry_username, settings.registry_password)
    for login in (None, (right[0], "wrong"), ("nobody", right[1])):
        assert not any(registry.attempts(settings, login).values())
    for written, status in registry.disguised_registrations(settings, right).items():
        assert status >= 400, written


@pytest.mark.skipif(not DEEP, reason="`make test` starts no second Elasticsearch")
@pytest.mark.parametrize("role", expected.ROLES)
def test_elasticsearch(
    role: str, registries: tuple[Registry, Registry], counts: dict[tuple[str, str], Attempts]
) -> None:
    """A role that is not listed cannot log in."""
    mine, other = registries
    settings = mine.settings[role]
    indexes = {
        "searched": mine.named("rollbook-users"),
        "version": mine.named("rollbook-users-1"),
        "checkpoints": mine.named("rollbook-checkpoints"),
        "other searched": other.named("rollbook-users"),
        "other version": other.named("rollbook-users-1"),
        "other checkpoints": other.named("rollbook-checkpoints-1"),
    }
    harmless = ("searched", "version", "checkpoints") if role == "operator" else ()
    login = (settings.elasticsearch_username, settings.elasticsearch_password)
    found = elasticsearch.attempts(settings, login, indexes, harmless=harmless)
    check(found, expected.ELASTICSEARCH.get(role, {}))
    seen = elasticsearch.indexes_in_wildcards(settings, login)
    assert all(index.startswith(mine.prefix) for index in seen), seen
    counts[role, "elasticsearch"] = found
