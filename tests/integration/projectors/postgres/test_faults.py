"""PostgreSQL that refuses writes or lost tables: the projector waits, and nothing is dropped."""

import pytest

from projectors.contract.read_model import Dropped
from projectors.promises.events import user_event
from schemas.errors import Unavailable
from tests.observed.read_models import OpenVersion, at_once, live_versions, ready_version


def test_a_server_that_became_read_only_is_waited_for_and_connected_again(
    opened: OpenVersion,
) -> None:
    opened.write(user_event(1))
    with opened.model.database.session() as connection:  # type: ignore[attr-defined]
        connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(Unavailable):
        opened.write(user_event(2))
    opened.write(user_event(2))
    assert opened.rows("SELECT count(*) FROM {schema}.users") == [(2,)]


def test_the_checkpoint_of_a_read_only_server_can_be_read(
    opened: OpenVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait for a token needs no more."""
    opened.write(user_event(1))
    database = opened.model.database  # type: ignore[attr-defined]
    database.close()
    monkeypatch.setitem(database._session, "default_transaction_read_only", "on")
    assert opened.model.checkpoint() == {0: opened.position}
    with pytest.raises(Unavailable):
        opened.write(user_event(2))


def test_tables_that_someone_removed_do_not_make_a_version_dropped(opened: OpenVersion) -> None:
    """Its projector would end and be started again, without a word. A swap replaces it."""
    opened.write(user_event(1))
    opened.rows("SELECT 1 FROM {schema}.users")
    with opened.database.session() as connection:
        connection.execute(opened.database.statement("DROP TABLE {schema}.checkpoints CASCADE"))
        connection.execute(opened.database.statement("DROP TABLE {schema}.users CASCADE"))
    for use in (opened.model.checkpoint, lambda: opened.write(user_event(2))):
        with pytest.raises(Unavailable) as missing:
            use()
        assert missing.value.code == "tables_missing"
    number = ready_version(opened.versions, user_event(1))
    opened.versions.swap(number, at_once)
    assert live_versions(opened.versions) == [number]
    opened.versions.drop(1)
    with pytest.raises(Dropped):
        opened.model.checkpoint()


def test_a_removed_home_schema_is_an_empty_store(opened: OpenVersion) -> None:
    with opened.database.session() as connection:
        connection.execute(opened.database.statement("DROP SCHEMA {home} CASCADE"))
        connection.execute(opened.database.statement("DROP SCHEMA {schema} CASCADE"))
    with pytest.raises(Dropped):
        opened.model.checkpoint()
    assert opened.versions.versions() == []
