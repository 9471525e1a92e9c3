"""A read model is the same whatever compaction removed from the log and whatever failed.

The module of the same name in `tests/unit` describes the method and proves that a wrong read model
is detected.
"""

from contextlib import closing
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings

from projectors.catalog import OURS
from projectors.contract.read_model import Batch, ReadModel, ReadModelVersions
from projectors.contract.source import LATEST_STATE
from projectors.postgres.store.database import Database
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.schema import SHAPE
from projectors.postgres.users.writer import PostgresUsers
from runtime.settings import Settings
from tests.depth import depth
from tests.observed.compactions import SEEDS, STEPS, Steps
from tests.started.killed_projector import check_live_equals_rebuilt
from tests.unit.projectors.contract.test_compactions import UNTIL_FOUND

EXAMPLES = depth(
    {"postgres": 12, "history": 12, "elasticsearch": 4},
    {"postgres": 500, "history": 500, "elasticsearch": 500},
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", OURS)
def test_a_live_read_model_equals_a_rebuild_from_any_compaction(name: str, store: Settings) -> None:
    with closing(OURS[name](store)) as versions:
        check(versions, store, settings(max_examples=EXAMPLES[name]))


def check(versions: ReadModelVersions, store: Settings, examples: settings) -> None:
    """Compare the live version with rebuilds; in PostgreSQL also the summary."""

    def summary(number: int) -> Any:
        return summary_of(store, number) if versions.name == "postgres" else None

    @settings(examples, deadline=None, print_blob=True)
    @given(STEPS, SEEDS)
    def compare(steps: Steps, seed: int) -> None:
        check_live_equals_rebuilt(versions, steps, seed, summary)

    versions.begin()
    compare()


def summary_of(store: Settings, number: int) -> Any:
    """Return the summary of a version."""
    with closing(Database(store, version=number)) as database, database.session() as session:
        text = database.statement(
            "SELECT row_to_json(shown)::text FROM {schema}.user_summary shown"
        )
        return session.execute(text).fetchall()


class SkipsDeletions:
    """A version of a read model that receives no deletions."""

    def __init__(self, model: ReadModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def write(self, batch: Batch) -> None:
        events = [event for event in batch.events if event["user"] is not None]
        self._model.write(replace(batch, events=events, packed=()))


class SkippingVersions:
    """Versions that all skip deletions."""

    def __init__(self, versions: ReadModelVersions) -> None:
        self._versions = versions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._versions, name)

    def open(self, number: int) -> Any:
        return SkipsDeletions(self._versions.open(number))


@pytest.mark.parametrize("name", OURS)
def test_a_wrong_read_model_is_detected(name: str, store: Settings) -> None:
    """A check that cannot fail proves nothing."""
    with closing(OURS[name](store)) as versions, pytest.raises(AssertionError):
        check(cast("ReadModelVersions", SkippingVersions(versions)), store, UNTIL_FOUND)


def test_a_wrong_summary_is_detected(store: Settings) -> None:
    """One that is not computed at the end of a rebuild."""
    shape = replace(SHAPE, deferred=[text for text in SHAPE.deferred if "counters" not in text])
    made = PostgresVersions(store, PostgresUsers.name, LATEST_STATE, shape, PostgresUsers)
    with closing(made) as versions, pytest.raises(AssertionError):
        check(versions, store, UNTIL_FOUND)
