"""How a new column ships: in a new version beside the old one, both kept up to date."""

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
from tests.observed.read_models import OpenVersion, at_once, live_versions

_USERS, _NO_STATISTICS, _COUNTERS, _USER_VIEWS, _USER_SUMMARY = SHAPE.tables


def with_columns(users: LiteralString, view: LiteralString, *filled: str) -> TableShape:
    """Return the shape with more columns, some of them filled by the writer."""
    users = _USERS.replace("    age integer,\n", "    age integer,\n" + users)
    view = _USER_VIEWS.replace("version\n", "version" + view + "\n")
    assert users != _USERS
    return replace(
        SHAPE,
        columns=(*SHAPE.columns, *filled),
        tables=(users, _NO_STATISTICS, _COUNTERS, view, _USER_SUMMARY),
    )


# A domain that PostgreSQL computes, and a name in capitals that the writer fills in.
WIDE = with_columns(
    "    email_domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED,\n"
    "    shouted_name text,\n",
    ", email_domain, shouted_name",
    "shouted_name",
)
# An integer column that becomes a decimal one.
CHANGED = replace(SHAPE, tables=(_USERS.replace("age integer", "age numeric"), *SHAPE.tables[1:]))
# The shape of earlier releases, with a generated column that no query of ours used.
SEARCHABLE = with_columns(
    "    search_tokens tsvector GENERATED ALWAYS AS (\n"
    "        to_tsvector('simple', name || ' ' || email)\n"
    "    ) STORED,\n",
    ", search_tokens",
)
_NEW = "SELECT email_domain, shouted_name FROM {schema}.user_views ORDER BY id"


def newer(settings: Settings, shape: TableShape) -> PostgresVersions:
    """Return the versions as a newer rollbook sees them, whose tables have this shape."""
    return PostgresVersions(settings, PostgresUsers.name, LATEST_STATE, shape, PostgresUsers)


@pytest.fixture
def older(opened: OpenVersion) -> PostgresVersions:
    """The versions as this rollbook sees them: the first, with one user."""
    opened.write(user_event(1))
    return opened.versions


@pytest.fixture
def newer_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer of the newer rollbook, which fills the new column."""
    monkeypatch.setattr(writer, "_VALUES", writer._VALUES | {"shouted_name": "upper(name)"})


def go_live(versions: PostgresVersions, number: int) -> None:
    """Make a version live that needs no more events."""
    versions.finish(number)
    versions.accept(number)
    versions.swap(number, at_once)


def test_a_new_column_ships_as_a_new_version(
    settings: Settings, older: PostgresVersions, newer_code: None
) -> None:
    """The new code fills both versions; queries have the column once it is live, and keep it.

    Views that others built on the published view survive, and so do grants.
    """
    home = Database(settings)
    with (
        closing(home),
        home.session() as session,
        closing(newer(settings, WIDE)) as versions,
        OpenVersion(newer(settings, WIDE)) as first,
        OpenVersion(newer(settings, WIDE), versions.create()) as second,
    ):
        session.execute(home.statement("GRANT SELECT ON {schema}.user_views TO pg_monitor"))
        session.execute(
            home.statement("CREATE VIEW {schema}.mine AS SELECT name FROM {schema}.user_views")
        )
        second.write(user_event(1))
        versions.finish(2)
        second.model.close()
        second.model = versions.open(2)
        go_live(versions, 2)
        assert session.execute(home.statement(_NEW)).fetchall() == [("example.com", "JANE DOE")]
        for each in (first, second):
            each.write(user_event(1, 2, name="Zoë"), user_event(2, gone=True), user_event(3))
        new = [("example.com", "ZOË"), ("example.com", "JANE DOE")]
        assert session.execute(home.statement(_NEW)).fetchall() == new
        versions.swap(1, at_once)
        assert session.execute(home.statement(_NEW)).fetchall() == [(None, None)] * 2
        names = "SELECT name FROM {schema}.mine ORDER BY name"
        assert session.execute(home.statement(names)).fetchall() == [("Jane Doe",), ("Zoë",)]
        versions.swap(2, at_once)
        assert session.execute(home.statement(_NEW)).fetchall() == new
        granted = "SELECT has_table_privilege('pg_monitor', '{schema}.user_views', 'SELECT')"
        assert session.execute(home.statement(granted)).fetchall() == [(True,)]


def test_a_generated_column_is_dropped_with_a_new_version(settings: Settings) -> None:
    """Both versions are kept up to date and have the same rows; the view keeps the column."""
    home = Database(settings)
    shown = home.statement("SELECT id, search_tokens IS NULL FROM {schema}.user_views ORDER BY id")
    with closing(newer(settings, SEARCHABLE)) as released:
        released.begin()
    with (
        closing(postgres_versions(settings)) as versions,
        OpenVersion(postgres_versions(settings)) as first,
        closing(home),
        home.session() as session,
    ):
        number = versions.create()
        with OpenVersion(postgres_versions(settings), number) as second:
            for each in (first, second):
                each.write(user_event(1), user_event(2))
                each.write(user_event(1, 2, name="Zoë"), user_event(2, 2, gone=True))
            rows = [
                sorted(row for page in each.model.rows() for row in page)
                for each in (first, second)
            ]
            assert rows[0] == rows[1]
        before = session.execute(shown).fetchall()
        go_live(versions, number)
        assert session.execute(shown).fetchall() == [(user, True) for user, _ in before]
        versions.swap(1, at_once)
        assert session.execute(shown).fetchall() == before == [(user, False) for user, _ in before]


def test_older_code_does_not_write_to_a_version_with_unknown_columns(
    settings: Settings, older: PostgresVersions
) -> None:
    """It says so, and keeps writing to the version that it knows; going back to it works."""
    with closing(newer(settings, WIDE)) as versions:
        go_live(versions, versions.create())
    with pytest.raises(Misconfigured) as refused:
        older.open(2)
    assert refused.value.code == "other_shape"
    assert "shouted_name" in str(refused.value)
    with closing(older.open(1)) as model:
        assert model.checkpoint()
    older.swap(1, at_once)
    go_live(older, older.create())
    assert live_versions(older) == [3]


def test_a_column_with_a_changed_type_is_refused(
    settings: Settings, older: PostgresVersions
) -> None:
    """Existing queries rely on the old type; the refused swap has changed nothing."""
    with closing(newer(settings, CHANGED)) as versions:
        with pytest.raises(Misconfigured) as refused:
            go_live(versions, versions.create())
        assert refused.value.code == "column_changed"
        assert "age" in str(refused.value)
        assert live_versions(versions) == [1]
        with closing(versions.open(1)) as model:
            assert model.checkpoint()


def test_a_prepared_select_of_all_columns_fails_once_when_one_is_added(
    settings: Settings, older: PostgresVersions
) -> None:
    """A statement that names its columns still works; the other works on a new connection."""
    home = Database(settings)
    every = home.statement("SELECT * FROM {schema}.user_views")
    named = home.statement("SELECT id, name FROM {schema}.user_views")
    with closing(home), home.session() as session, closing(newer(settings, WIDE)) as versions:
        before = session.execute(every, prepare=True).fetchall()
        assert session.execute(named, prepare=True).fetchall()
        number = versions.create()
        with OpenVersion(newer(settings, WIDE), number) as second:
            second.write(user_event(1))
        go_live(versions, number)
        assert session.execute(named, prepare=True).fetchall()
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan"):
            session.execute(every, prepare=True)
        session.execute("DEALLOCATE ALL")
        [row] = session.execute(every, prepare=True).fetchall()
        assert row[: len(before[0])] == before[0]
        versions.swap(1, at_once)
        assert session.execute(every, prepare=True).fetchall() == [(*before[0], None, None)]
