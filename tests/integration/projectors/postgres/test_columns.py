"""How a column ships: a version with it beside the one without, both kept up to date."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import LiteralString

import psycopg
import pytest

from projectors.contract.source import LATEST_STATE
from projectors.postgres.store.database import Database
from projectors.postgres.store.shape import TableShape
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users import writer
from projectors.postgres.users.schema import SHAPE
from projectors.postgres.users.writer import PostgresUsers, postgres_versions
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Misconfigured
from tests.read_models import Held

_USERS, _COUNTERS, _USER_VIEWS, _USER_SUMMARY = SHAPE.tables


def with_columns(users: LiteralString, view: LiteralString, *filled: str) -> TableShape:
    """Return the shape with more columns, of which the writer fills some."""
    users = _USERS.replace("    age integer,\n", "    age integer,\n" + users)
    view = _USER_VIEWS.replace("search_tokens\n", "search_tokens" + view + "\n")
    assert users != _USERS
    return replace(
        SHAPE,
        columns=(*SHAPE.columns, *filled),
        tables=(users, _COUNTERS, view, _USER_SUMMARY),
    )


# A domain that PostgreSQL works out, and a name in capitals that the writer fills in.
WIDE = with_columns(
    "    email_domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED,\n"
    "    shouted_name text,\n",
    ", email_domain, shouted_name",
    "shouted_name",
)
# What was a whole number is to be a fraction.
CHANGED = replace(SHAPE, tables=(_USERS.replace("age integer", "age numeric"), *SHAPE.tables[1:]))
_NEW = "SELECT email_domain, shouted_name FROM {schema}.user_views ORDER BY id"


def newer(settings: Settings, shape: TableShape) -> PostgresVersions:
    """Return the versions as a rollbook has them whose tables are of this shape."""
    return PostgresVersions(settings, PostgresUsers.name, LATEST_STATE, shape, PostgresUsers)


@pytest.fixture
def older(settings: Settings) -> Iterator[PostgresVersions]:
    """The versions as this rollbook has them: the first, with a user in it."""
    with Held(postgres_versions(settings)) as held:
        held.write(user_event(1))
        yield held.versions


@pytest.fixture
def newer_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer as it is once it fills the column."""
    monkeypatch.setattr(writer, "_VALUES", writer._VALUES | {"shouted_name": "upper(name)"})


def go_live(versions: PostgresVersions, number: int) -> None:
    """Make a version live that has all that it should have."""
    versions.finish(number)
    versions.accept(number)
    versions.swap(number, lambda: None)


def test_a_new_column_ships_as_a_version(
    settings: Settings, older: PostgresVersions, newer_code: None
) -> None:
    """The new code fills both; whoever asks has the column once it is live, and keeps it.

    What others built on the view stays: their views, and who was granted it.
    """
    home = Database(settings)
    with (
        closing(home),
        home.session() as asking,
        closing(newer(settings, WIDE)) as versions,
        Held(newer(settings, WIDE)) as first,
        Held(newer(settings, WIDE), versions.create()) as second,
    ):
        asking.execute(home.statement("GRANT SELECT ON {schema}.user_views TO pg_monitor"))
        asking.execute(
            home.statement("CREATE VIEW {schema}.mine AS SELECT name FROM {schema}.user_views")
        )
        second.write(user_event(1))
        versions.finish(2)
        second.model.close()
        second.model = versions.open(2)
        go_live(versions, 2)
        assert asking.execute(home.statement(_NEW)).fetchall() == [("example.com", "JANE DOE")]
        for held in (first, second):
            held.write(user_event(1, 2, name="Zoë"), user_event(2, gone=True), user_event(3))
        new = [("example.com", "ZOË"), ("example.com", "JANE DOE")]
        assert asking.execute(home.statement(_NEW)).fetchall() == new
        versions.swap(1, lambda: None)
        assert asking.execute(home.statement(_NEW)).fetchall() == [(None, None)] * 2
        names = "SELECT name FROM {schema}.mine ORDER BY name"
        assert asking.execute(home.statement(names)).fetchall() == [("Jane Doe",), ("Zoë",)]
        versions.swap(2, lambda: None)
        assert asking.execute(home.statement(_NEW)).fetchall() == new
        granted = "SELECT has_table_privilege('pg_monitor', '{schema}.user_views', 'SELECT')"
        assert asking.execute(home.statement(granted)).fetchall() == [(True,)]


def test_older_code_does_not_write_to_columns_it_does_not_know(
    settings: Settings, older: PostgresVersions
) -> None:
    """It says so, and goes on with the version that it knows; so after going back to older code."""
    with closing(newer(settings, WIDE)) as versions:
        go_live(versions, versions.create())
    with pytest.raises(Misconfigured) as refused:
        older.open(2)
    assert refused.value.code == "other_shape"
    assert "shouted_name" in str(refused.value)
    with closing(older.open(1)) as model:
        assert model.checkpoint()
    older.swap(1, lambda: None)
    go_live(older, older.create())
    assert [version.number for version in older.versions() if version.live] == [3]


def test_a_column_that_changes_its_type_is_refused(
    settings: Settings, older: PostgresVersions
) -> None:
    """Those who ask for it expect what it was; nothing has then changed."""
    with closing(newer(settings, CHANGED)) as versions:
        with pytest.raises(Misconfigured) as refused:
            go_live(versions, versions.create())
        assert refused.value.code == "column_changed"
        assert "age" in str(refused.value)
        assert [version.number for version in versions.versions() if version.live] == [1]
        with closing(versions.open(1)) as model:
            assert model.checkpoint()


def test_what_is_prepared_for_all_columns_fails_when_one_is_added(
    settings: Settings, older: PostgresVersions
) -> None:
    """Whoever names the columns notices nothing; after a new connection all is well."""
    home = Database(settings)
    every = home.statement("SELECT * FROM {schema}.user_views")
    named = home.statement("SELECT id, name FROM {schema}.user_views")
    with closing(home), home.session() as asking, closing(newer(settings, WIDE)) as versions:
        before = asking.execute(every, prepare=True).fetchall()
        assert asking.execute(named, prepare=True).fetchall()
        number = versions.create()
        with Held(newer(settings, WIDE), number) as second:
            second.write(user_event(1))
        go_live(versions, number)
        assert asking.execute(named, prepare=True).fetchall()
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan"):
            asking.execute(every, prepare=True)
        asking.execute("DEALLOCATE ALL")
        [row] = asking.execute(every, prepare=True).fetchall()
        assert row[: len(before[0])] == before[0]
        versions.swap(1, lambda: None)
        assert asking.execute(every, prepare=True).fetchall() == [(*before[0], None, None)]
