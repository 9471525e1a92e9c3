"""Rollbook's own tables are brought up to date, keep working for older releases, or are refused."""

from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import pytest

from projectors.contract.read_model import Batch
from projectors.postgres.store.bookkeeping import FORMAT, STEPS, Bookkeeping, Step
from projectors.postgres.store.database import Database
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.writer import postgres_versions
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Misconfigured, RollbookError
from tests.observed.read_models import OpenVersion, at_once, live_versions, ready_version

# What a later release could need.
LATER: Final = Step(
    home=("ALTER TABLE {home}.model_versions ADD COLUMN IF NOT EXISTS note text",),
    version=("ALTER TABLE {schema}.checkpoints ADD COLUMN IF NOT EXISTS note text",),
)
# The release after that writes what only releases with the first step can read.
AFTER: Final = Step(required=FORMAT + 1)
_COLUMNS: Final = """
SELECT count(*) FROM information_schema.columns
WHERE table_schema = %s AND table_name = %s AND column_name = 'note'"""


def of_release(settings: Settings, *later: Step) -> PostgresVersions:
    """Return the versions as a release sees them that has further steps."""
    versions = postgres_versions(settings)
    versions._bookkeeping = Bookkeeping(versions._database, (*STEPS, *later))
    return versions


def run(versions: PostgresVersions, text: Any, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement in the home schema."""
    with versions._database.session() as connection:
        cursor = connection.execute(versions._home(text), parameters)
        return cursor.fetchall() if cursor.description else []


def has_note(versions: PostgresVersions, database: Database, table: str) -> bool:
    return run(versions, _COLUMNS, database.schema, table) == [(1,)]


def test_the_store_of_an_earlier_release_is_brought_up_to_date(
    settings: Settings, opened: OpenVersion
) -> None:
    """It has no format. Its versions and their data stay; a restart changes nothing more."""
    opened.write(user_event(1))
    run(opened.versions, "DROP TABLE {home}.bookkeeping")
    run(
        opened.versions,
        "ALTER TABLE {home}.model_versions DROP COLUMN format, DROP COLUMN paused_at",
    )
    with closing(postgres_versions(settings)) as versions:
        assert live_versions(versions) == [1]  # listing changes nothing
        for _ in range(2):
            versions.begin()
            assert run(versions, "SELECT format, required FROM {home}.bookkeeping") == [(FORMAT, 0)]
            found = run(versions, "SELECT number, format FROM {home}.model_versions")
            assert found == [(1, FORMAT)]
        with closing(versions.open(1)) as model:
            assert model.checkpoint() == opened.model.checkpoint()
    opened.write(user_event(2))


def test_a_release_works_with_the_store_of_the_next_one(
    settings: Settings, versions: PostgresVersions
) -> None:
    """A later format only adds. It reaches the versions that the older release adds, too."""
    with closing(of_release(settings, LATER)) as later:
        later.begin()
        assert has_note(later, later._database, "model_versions")
        assert has_note(later, later._version(1), "checkpoints")
        versions.begin()
        number = ready_version(versions, user_event(1))
        versions.swap(number, at_once)
        assert not has_note(later, later._version(number), "checkpoints")
        later.begin()
        assert has_note(later, later._version(number), "checkpoints")
        versions.drop(1)
        assert live_versions(later) == [number]
        assert run(later, "SELECT format, required FROM {home}.bookkeeping") == [(FORMAT + 1, 0)]


@pytest.mark.parametrize(
    "use",
    [
        lambda versions: versions.versions(),
        lambda versions: versions.begin(),
        lambda versions: versions.create(),
        lambda versions: versions.open(1),
        lambda versions: versions.drop(1),
    ],
)
def test_a_store_that_needs_a_later_release_is_refused(
    settings: Settings, versions: PostgresVersions, use: Callable[[PostgresVersions], object]
) -> None:
    """Before anything is written; the release between the two still works with it."""
    with closing(of_release(settings, LATER, AFTER)) as newest:
        newest.begin()
        before = run(newest, "SELECT * FROM {home}.model_versions")
        with pytest.raises(Misconfigured) as refused:
            use(versions)
        assert refused.value.code == "newer_bookkeeping"
        assert "docs/upgrading.md" in refused.value.next_step
        assert run(newest, "SELECT * FROM {home}.model_versions") == before
    with closing(of_release(settings, LATER)) as between:
        between.begin()
        assert live_versions(between) == [1]


def test_a_step_that_fails_changes_nothing(settings: Settings, opened: OpenVersion) -> None:
    """Its statements are one transaction."""
    broken = Step(home=(*LATER.home, "ALTER TABLE {home}.nothing ADD COLUMN x text"))
    with closing(of_release(settings, broken)) as later:
        with pytest.raises(RollbookError):
            later.begin()
        assert not has_note(later, later._database, "model_versions")
    opened.model.write(Batch([], {0: opened.step(1)}))
