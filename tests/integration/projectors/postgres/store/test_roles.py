"""Logins of their own for the operator, the projectors and queries: none needs more than it has."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from projectors.catalog import OURS
from projectors.history.writer import history_versions
from projectors.postgres.store import leftovers
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.queries import UserQueries
from projectors.postgres.users.writer import postgres_versions
from projectors.promises.events import user_event, user_id
from projectors.versions.host import Host
from runtime.process import StopSignal
from runtime.roles.postgres import postgres_statements
from runtime.roles.table import OPERATOR, QUERIES, login
from runtime.settings import Settings
from schemas.errors import Forbidden
from tests.observed.read_models import OpenVersion, ready_version
from tests.started.processes import Rollbook
from tests.started.roles import SECURE

pytestmark = pytest.mark.skipif(SECURE, reason="sets up the roles itself, as a superuser")
ROLES = (OPERATOR, QUERIES, "projector-postgres", "projector-history")
As = Callable[[str], Settings]


@pytest.fixture
def as_role(empty: Settings) -> Iterator[As]:
    """The settings with the login of a role; what the roles have is removed afterwards."""

    def logged_in(role: str) -> Settings:
        url = empty.postgres_url.replace("rollbook@", f"{login(empty, role)}@")
        return replace(empty, postgres_url=url, postgres_password="secret")

    names = [sql.Identifier(login(empty, role)) for role in ROLES]
    password = empty.postgres_password
    with psycopg.connect(empty.postgres_url, password=password, autocommit=True) as admin:
        for statement in 2 * postgres_statements(empty):  # running them again changes nothing
            admin.execute(statement.encode())
        for name in names:
            admin.execute(sql.SQL("ALTER ROLE {} PASSWORD 'secret'").format(name))
        yield logged_in
        for name in names:
            admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
            admin.execute(sql.SQL("DROP ROLE {}").format(name))


def prepare(settings: Settings) -> None:
    for opener in (postgres_versions, history_versions):
        with closing(opener(settings)) as versions:
            versions.begin()


@pytest.fixture
def of_operator(as_role: As) -> Iterator[PostgresVersions]:
    """The versions, which the operator has prepared."""
    prepare(as_role(OPERATOR))
    with closing(postgres_versions(as_role(OPERATOR))) as versions:
        yield versions


def denied(settings: Settings, statement: LiteralString) -> bool:
    password = settings.postgres_password
    home = sql.Identifier(settings.named("rollbook").replace("-", "_"))
    with psycopg.connect(settings.postgres_url, password=password) as connection:
        try:
            connection.execute(sql.SQL(statement).format(home=home))
        except psycopg.errors.InsufficientPrivilege:
            return True
        return False


def test_a_projector_says_who_must_create_its_tables(as_role: As) -> None:
    mine = as_role("projector-postgres")
    with (
        closing(postgres_versions(mine)) as versions,
        pytest.raises(Forbidden, match="rollbook projector prepare postgres"),
    ):
        Host(mine, versions, StopSignal())._begin()


def test_a_projector_writes_every_version_that_the_operator_creates(
    of_operator: PostgresVersions, as_role: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "ONCE_IN_SECONDS", 0)
    second = ready_version(of_operator)
    for number in (1, second):
        with OpenVersion(postgres_versions(as_role("projector-postgres")), number) as opened:
            opened.write(user_event(1), user_event(2))
            opened.write(user_event(2, 2, gone=True))
            assert opened.versions.remove_leftovers(number)
    of_operator.swap(second, lambda: None)
    of_operator.drop(1)
    with closing(UserQueries(as_role(QUERIES))) as queries:
        assert queries.get_user(user_id(1)).version == 1
        assert queries.get_user_summary().total_users == 1


def test_a_projector_may_change_no_version_and_read_no_other_model(
    of_operator: PostgresVersions, as_role: As
) -> None:
    second = ready_version(of_operator)
    with closing(postgres_versions(as_role("projector-postgres"))) as versions:
        for change in (
            versions.create,
            lambda: versions.swap(second, lambda: None),
            lambda: versions.drop(second),
            lambda: versions.set_paused(1, paused=True),
        ):
            with pytest.raises(Forbidden):
                change()
    assert denied(as_role("projector-history"), "SELECT FROM {home}.user_views")
    with (
        closing(postgres_versions(as_role("projector-history"))) as versions,
        pytest.raises(Forbidden),
        closing(versions.open(1)) as model,
    ):
        model.checkpoint()


def test_queries_read_all_and_write_nothing(of_operator: PostgresVersions, as_role: As) -> None:
    with closing(postgres_versions(as_role(QUERIES))) as versions:
        assert versions.versions() == of_operator.versions()
        with closing(versions.open(1)) as model:
            assert model.checkpoint() == {}
    assert not denied(as_role(QUERIES), "SELECT FROM {home}.user_history")
    assert denied(as_role(QUERIES), "DELETE FROM {home}.user_views")
    assert denied(as_role(QUERIES), "UPDATE {home}.model_versions SET live = false")
    assert denied(as_role(QUERIES), "CREATE TABLE {home}.more (number integer)")


def test_tables_of_a_single_login_become_the_operators(empty: Settings, as_role: As) -> None:
    prepare(empty)
    password = empty.postgres_password
    with psycopg.connect(empty.postgres_url, password=password, autocommit=True) as admin:
        for statement in postgres_statements(empty):
            admin.execute(statement.encode())
    with OpenVersion(postgres_versions(as_role("projector-postgres"))) as opened:
        opened.write(user_event(1))
    with closing(postgres_versions(as_role(OPERATOR))) as versions:
        versions.drop(ready_version(versions))


def test_a_login_that_nobody_set_up_as_a_role_gets_nothing(empty: Settings, as_role: As) -> None:
    name = sql.Identifier(login(empty, "projector-postgres"))
    home = sql.Identifier(empty.named("rollbook").replace("-", "_"))
    password = empty.postgres_password
    with psycopg.connect(empty.postgres_url, password=password, autocommit=True) as admin:
        admin.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(home, name))
    prepare(as_role(OPERATOR))
    assert denied(as_role("projector-postgres"), "SELECT FROM {home}.model_versions")


def test_prepare_creates_every_read_model_and_can_be_repeated(rollbook: Rollbook) -> None:
    for _ in range(2):
        found = rollbook.ndjson("projector", "prepare")
        assert found == [{"read_model": name, "live_version": 1} for name in OURS]
    assert rollbook.json("projector", "prepare", "x", code=2)["error"]["code"] == (
        "unknown_read_model"
    )
