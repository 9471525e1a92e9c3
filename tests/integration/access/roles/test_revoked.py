"""A permission that is revoked while a process runs, and granted again: how long both take.

One process stands for each server. It says what is missing and is not ready; once the permission is
back, it continues by itself at its next attempt, and nothing is lost.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Final, LiteralString

import psycopg
import pytest
from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from psycopg import sql

from runtime.kafka.clients import admin
from runtime.roles.elasticsearch import elasticsearch_roles
from runtime.settings import Settings
from scripts.stack.native.local import LocalStack
from scripts.stack.places import server_user
from scripts.stack.record import servers_data
from scripts.stack.secure import elasticsearch
from tests.depth import DEEP, depth
from tests.integration.access.servers.refusing_proxy import PASSWORD, USER, refusing_proxy
from tests.observed.log import decided, send_creates
from tests.observed.metrics import Endpoint, start_measured
from tests.started.processes import Rollbook, eventually

pytestmark = pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")

TIMES: Final = depth(1, 3)
# How long a process may take to notice, and to continue after its pause of 30 s, on a busy machine.
NOTICED_SECONDS: Final = 60
SECONDS: Final = 100

Switch = Callable[[], None]


class Measured:
    """A running process and how long it took each time to notice a revocation, and to continue."""

    def __init__(self, rollbook: Rollbook, code: str, *command: str) -> None:
        self._process, self._endpoint = start_measured(rollbook, *command)
        self._code = code
        self._noticed: list[float] = []
        self._continued: list[float] = []
        eventually(partial(_is_ready, self._endpoint), SECONDS, "it is ready")

    def lose_and_regain(self, revoke: Switch, restore: Switch, work: Switch, done: Switch) -> None:
        """Revoke a permission, `work`, and restore it; `done` returns once all work was done."""
        said = self._process.text().count("denies")
        revoke()
        began = time.monotonic()
        work()
        eventually(partial(_lacks, self._endpoint, self._code), NOTICED_SECONDS, "it noticed")
        self._process.wait_for("denies", said + 1)
        self._noticed.append(time.monotonic() - began)
        restore()
        began = time.monotonic()
        eventually(partial(_is_ready, self._endpoint), SECONDS, "it is ready again")
        done()
        self._continued.append(time.monotonic() - began)

    def report(self) -> None:
        """Print the times, and stop the process."""
        _print(self._code, "noticed", self._noticed)
        _print(self._code, "continued", self._continued)
        assert self._process.stop() == 0


class Work:
    """Sends users as the client, and waits until a read model shows them to queries."""

    def __init__(self, as_role: dict[str, Rollbook]) -> None:
        self._client, self._queries = as_role["client"], as_role["queries"]
        self._sent = 0

    def send(self) -> None:
        """Send a few more users."""
        send_creates(self._client.settings, f"jane{self._sent}x", 5)
        self._sent += 5

    def is_decided(self) -> None:
        """Return once every command has one answer."""
        eventually(lambda: decided(self._client.settings) == self._sent, SECONDS)

    def is_shown(self, *command: str) -> None:
        """Return once `rollbook users` finds every user."""
        eventually(lambda: len(self._queries.ndjson("users", *command)) == self._sent, SECONDS)


def test_the_handler_may_not_write_events(deployed: dict[str, Rollbook]) -> None:
    work, handler = Work(deployed), deployed["handler"]
    acl = AclBinding(
        ResourceType.TOPIC,
        handler.settings.named("user-events"),
        ResourcePatternType.LITERAL,
        f"User:{handler.settings.kafka_sasl_username}",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    client = admin(deployed["administrator"].settings)

    def revoke() -> None:
        [deleted] = client.delete_acls([_filter(acl)]).values()
        assert deleted.result()

    def restore() -> None:
        [created] = client.create_acls([acl]).values()
        created.result()

    measured = Measured(handler, "kafka_forbidden", "handler", "run", "--instance", "a")
    for _ in range(TIMES):
        measured.lose_and_regain(revoke, restore, work.send, work.is_decided)
    measured.report()


def test_a_projector_may_not_write_rows(deployed: dict[str, Rollbook]) -> None:
    work, projector = Work(deployed), deployed["projector-postgres"]
    deployed["handler"].start_handler()
    settings = deployed["operator"].settings

    def execute(statement: LiteralString) -> None:
        login = sql.Identifier(f"{settings.prefix}-projector-postgres")
        schema = sql.Identifier(f"{settings.prefix}_rollbook_postgres_1")
        text = sql.SQL(statement).format(login=login, schema=schema)
        with psycopg.connect(settings.postgres_url, password=settings.postgres_password) as owner:
            owner.execute(text)

    measured = Measured(projector, "postgres_forbidden", "projector", "run", "postgres")
    for _ in range(TIMES):
        measured.lose_and_regain(
            lambda: execute("REVOKE INSERT ON {schema}.users FROM {login}"),
            lambda: execute("GRANT INSERT ON {schema}.users TO {login}"),
            work.send,
            lambda: work.is_shown("list", "--all"),
        )
    measured.report()


def test_a_projector_may_not_write_documents(
    deployed: dict[str, Rollbook], secure_stack: LocalStack
) -> None:
    work, projector = Work(deployed), deployed["projector-elasticsearch"]
    deployed["handler"].start_handler()
    mine = projector.settings
    logins = {mine.elasticsearch_username: mine.elasticsearch_password}
    role = elasticsearch_roles(mine)["projector-elasticsearch"]
    weaker = {**role, "indices": [{**role["indices"][0], "privileges": ["read"]}]}
    folder = servers_data(secure_stack.directory) / "configuration/elasticsearch"

    def give(role: dict[str, object]) -> None:
        elasticsearch.grant(folder, server_user(), logins, {mine.elasticsearch_username: role})

    command = ("projector", "run", "elasticsearch")
    measured = Measured(projector, "elasticsearch_forbidden", *command)
    for _ in range(TIMES):
        measured.lose_and_regain(
            lambda: give(weaker),
            lambda: give(role),
            work.send,
            lambda: work.is_shown("search", "jane", "--all"),
        )
    measured.report()


def test_a_service_may_not_look_schemas_up(settings: Settings, rollbook: Rollbook) -> None:
    """Only at its start: a process asks for each schema once."""
    server, path = settings.registry_url.split("/apis", 1)
    with refusing_proxy(server) as proxy:
        rollbook.overrides |= {
            "ROLLBOOK_REGISTRY_URL": f"{proxy.url}/apis{path}",
            "ROLLBOOK_REGISTRY_USERNAME": USER,
            "ROLLBOOK_REGISTRY_PASSWORD": PASSWORD,
        }
        times: list[tuple[float, float]] = []
        for _ in range(TIMES):
            proxy.refuse("POST", "/subjects/")
            command = ("serve", "commands", "--listen", "127.0.0.1:0")
            process, endpoint = start_measured(rollbook, *command)
            began = time.monotonic()
            eventually(partial(_lacks, endpoint, "registry_forbidden"))
            noticed = time.monotonic()
            proxy.refuse_nothing()
            eventually(partial(_is_ready, endpoint), SECONDS)
            times.append((noticed - began, time.monotonic() - noticed))
            process.wait_for("denies access (status 403)")
            assert process.stop() == 0
    for what, seconds in zip(("noticed", "continued"), zip(*times, strict=True), strict=True):
        _print("registry_forbidden", what, list(seconds))


def _lacks(endpoint: Endpoint, code: str) -> bool:
    return code in endpoint.lacks()


def _is_ready(endpoint: Endpoint) -> bool:
    return not endpoint.lacks()


def _filter(acl: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        *(acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host),
        *(acl.operation, acl.permission_type),
    )


def _print(code: str, what: str, seconds: list[float]) -> None:
    sys.stdout.write(
        f"{code}: {what} after {median(seconds):.1f} s (p50), {max(seconds):.1f} s "
        f"(worst of {len(seconds)})\n"
    )
