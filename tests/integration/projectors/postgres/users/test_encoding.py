"""Names survive whatever encoding the client's environment, URL or role names."""

from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from projectors.postgres.users.queries import UserQueries
from projectors.postgres.users.writer import postgres_versions
from projectors.promises.events import user_event
from runtime.settings import Settings
from tests.observed.read_models import OpenVersion

NAME = "Zoë Ångström 山田"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_the_environment_does_not_change_the_encoding(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Neither PGCLIENTENCODING nor PGOPTIONS; names used to become bytes, or mojibake."""
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    monkeypatch.setenv("PGOPTIONS", f"-c client_encoding={encoding}")
    event = user_event(1, name=NAME)
    with OpenVersion(postgres_versions(settings)) as opened:
        opened.write(event)
    with closing(UserQueries(settings)) as queries:
        assert queries.get_user(event["user_id"]).name == NAME


def test_the_role_and_the_url_do_not_change_the_encoding(
    settings: Settings, opened: OpenVersion
) -> None:
    """The role here is the owner of the tables, as in production."""
    event = user_event(1, name=NAME)
    opened.write(event)
    role, password = sql.Identifier(f"{settings.prefix}_reader"), "secret"
    own = settings.postgres_password
    with psycopg.connect(settings.postgres_url, password=own, autocommit=True) as connection:
        create = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}")
        connection.execute(create.format(role, password))
        try:
            connection.execute(sql.SQL("ALTER ROLE {} SET client_encoding = 'LATIN1'").format(role))
            url = settings.postgres_url.replace("rollbook@", f"{settings.prefix}_reader@")
            changed = replace(
                settings,
                postgres_url=f"{url}?client_encoding=LATIN1",
                postgres_password=password,
            )
            with closing(UserQueries(changed)) as queries:
                assert queries.get_user(event["user_id"]).name == NAME
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(role))
