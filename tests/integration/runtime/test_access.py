"""Commands on a PostgreSQL that denies access: they end at once and name what is missing."""

from typing import LiteralString

import psycopg
from psycopg import sql

from runtime.settings import Settings
from tests.processes import Rollbook


def execute(settings: Settings, statement: LiteralString, role: str) -> None:
    """Run a statement about `role` as the owner of the database."""
    password = settings.postgres_password
    with psycopg.connect(settings.postgres_url, password=password) as connection:
        connection.execute(sql.SQL(statement).format(role=sql.Identifier(role)))


def test_a_denied_login_or_privilege_is_not_an_outage(
    settings: Settings, rollbook: Rollbook
) -> None:
    """A command ends with exit code 2; a projector names the privilege and keeps waiting for it."""
    role = f"{settings.prefix}_role"
    execute(settings, "CREATE ROLE {role} LOGIN PASSWORD 'secret'", role)
    try:
        url = settings.postgres_url.replace("rollbook@", f"{role}@")
        rollbook.overrides["ROLLBOOK_POSTGRES_URL"] = url
        rollbook.overrides["ROLLBOOK_POSTGRES_PASSWORD"] = "wrong"
        denied = rollbook.json("users", "list", code=2)["error"]
        assert denied["code"] == "postgres_forbidden"
        assert "password authentication failed" in denied["message"]
        rollbook.overrides["ROLLBOOK_POSTGRES_PASSWORD"] = "secret"
        projector = rollbook.start_projector("postgres")
        projector.wait_for("denies access: permission denied for database")
        projector.wait_for("trying again in 30.0 s")
        assert projector.stop() == 0
    finally:
        execute(settings, "DROP ROLE {role}", role)
