"""A PostgreSQL that denies a login or a privilege: commands end, a projector waits for it."""

from collections.abc import Iterator
from contextlib import closing
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from runtime.roles.postgres import version_schema
from runtime.settings import Settings
from tests.depth import DEEP
from tests.integration.projectors.service.http import QueryService
from tests.observed.log import send_creates
from tests.started.processes import Rollbook, RunningProcess, eventually

PASSWORD = "secret"
# The longest pause between two attempts, and what a busy machine adds.
SECONDS = 100


class Role:
    """A role of the database without privileges, with which `rollbook` logs in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = {
            "role": sql.Identifier(f"{settings.prefix}_role"),
            "schema": sql.Identifier(version_schema(settings, "postgres", 1)),
        }
        self.name = f"{settings.prefix}_role"

    def execute(self, *statements: LiteralString) -> None:
        """Run statements about `{role}` and its `{schema}` as the owner of the database."""
        password = self._settings.postgres_password
        with psycopg.connect(self._settings.postgres_url, password=password) as connection:
            for statement in statements:
                connection.execute(sql.SQL(statement).format(**self._names))

    def disconnect(self) -> None:
        """End its sessions, as a restart of the server does."""
        password = self._settings.postgres_password
        with psycopg.connect(self._settings.postgres_url, password=password) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                [self.name],
            )


@pytest.fixture
def role(settings: Settings, rollbook: Rollbook) -> Iterator[Role]:
    """The role of `rollbook`."""
    role = Role(settings)
    role.execute("CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    url = settings.postgres_url.replace("rollbook@", f"{role.name}@")
    rollbook.overrides |= {
        "ROLLBOOK_POSTGRES_URL": url,
        "ROLLBOOK_POSTGRES_PASSWORD": PASSWORD,
    }
    try:
        yield role
    finally:
        rollbook.stop_all()
        role.execute("DROP OWNED BY {role} CASCADE", "DROP ROLE {role}")


def shown(rollbook: Rollbook) -> int:
    """Return how many users the read model shows; 0 while access is denied."""
    return len(rollbook.run("users", "list", "--all", "--json").stdout.splitlines())


def test_a_denied_login_or_privilege_is_not_an_outage(role: Role, rollbook: Rollbook) -> None:
    """A command ends with exit code 2, a service says so; a projector waits for the privilege."""
    rollbook.overrides["ROLLBOOK_POSTGRES_PASSWORD"] = "wrong"
    denied = rollbook.json("users", "list", code=2)["error"]
    assert denied["code"] == "postgres_forbidden"
    assert "password authentication failed" in denied["message"]
    service = QueryService(rollbook)
    with closing(service.http):
        assert service.get("/users", 503)["code"] == "postgres_forbidden"
    rollbook.overrides["ROLLBOOK_POSTGRES_PASSWORD"] = PASSWORD
    projector = rollbook.start_projector("postgres")
    projector.wait_for("denies access: permission denied for database")
    projector.wait_for("trying again in 30.0 s")
    assert projector.stop() == 0


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
def test_a_projector_continues_once_it_is_permitted(
    role: Role, rollbook: Rollbook, handler: RunningProcess
) -> None:
    """To create its schema, to write to its table, and to log in with its password."""
    settings = rollbook.settings
    projector = rollbook.start_projector("postgres")
    send_creates(settings, "a", 20)
    projector.wait_for("permission denied for database")
    role.execute("GRANT CREATE ON DATABASE rollbook TO {role}")
    eventually(lambda: shown(rollbook) == 20, SECONDS)

    role.execute("REVOKE INSERT ON ALL TABLES IN SCHEMA {schema} FROM {role}")
    send_creates(settings, "b", 20)
    projector.wait_for("permission denied for table")
    role.execute("GRANT INSERT ON ALL TABLES IN SCHEMA {schema} TO {role}")
    eventually(lambda: shown(rollbook) == 40, SECONDS)

    role.execute("ALTER ROLE {role} PASSWORD 'another'")
    role.disconnect()
    send_creates(settings, "c", 20)
    projector.wait_for("password authentication failed")
    role.execute("ALTER ROLE {role} PASSWORD 'secret'")
    eventually(lambda: shown(rollbook) == 60, SECONDS)
    assert rollbook.ndjson("dead-letters", "list") == []
    assert projector.stop() == 0
