"""The read model of the history without a log: the guarantees of `write`, and the queries."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from projectors.contract.read_model import Batch
from projectors.contract.source import WHOLE_HISTORY
from projectors.history.queries import EventStore
from projectors.history.schema import SHAPE
from projectors.history.writer import _COPY, PostgresHistory, _pack_event, history_versions
from projectors.postgres.store.copy_rows import copy_rows
from projectors.postgres.store.versions import PostgresVersions
from projectors.promises.events import NOW, user_id
from runtime.settings import Settings
from schemas.errors import Misconfigured, Poisoned, Rejected, Unavailable
from schemas.records import USER_ERASED, UserEvent
from tests.observed.read_models import OpenVersion, at_once, ready_version
from tests.samples.events import event_of
from tests.started.processes import eventually

SECRET = "qsecretq"
WAITING = """
SELECT FROM pg_locks WHERE NOT granted AND relation = '{schema}.checkpoints'::regclass"""


def event(number: int, version: int = 1, **fields: Any) -> UserEvent:
    """Return an event of user `number`."""
    own: dict[str, Any] = {
        "command_id": f"c{number}-{version}",
        "issued_by": f"key-{number}",
        "seq": version,
        "occurred_at": NOW + 1000 * version,
        "changes": [
            {"field": "age", "before": version - 1, "after": version},
            {"field": "name", "before": 'a "quoted" \\ näme', "after": None},
        ],
        "name": "Zoë Ωmega",
        "age": version,
    }
    return event_of(f"user{number}@example.com", version, number=number, **own | fields)


def erasure(number: int, version: int) -> UserEvent:
    """Return the marker of an erasure."""
    return event(number, version, type=USER_ERASED, user=None, changes=[], issued_by=None)


class OpenHistory(OpenVersion):
    """The first version of the read model, and queries of it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(history_versions(settings))
        self.store = EventStore(settings)

    def of(self, number: int) -> list[int]:
        """Return the versions of a user's events."""
        try:
            return [one["version"] for one in self.store.get_events(user_id(number))]
        except Rejected:
            return []

    def close(self) -> None:
        self.store.close()
        super().close()


@pytest.fixture
def opened(settings: Settings) -> Iterator[OpenHistory]:
    """An empty read model, removed after the test."""
    with OpenHistory(settings) as opened:
        yield opened


def test_a_retried_event_is_not_added_while_its_user_is_being_erased(
    opened: OpenHistory, settings: Settings
) -> None:
    """The retry would not see the erasure, which is not committed yet, and be kept for ever."""
    opened.write(event(1, 2))
    projector: Any = opened.model
    with (
        OpenHistory(settings) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        with projector.step({0: opened.step(1)}) as cursor:
            cursor.execute(projector._erase, ([user_id(1)], [3]))
            copy_rows(cursor, _COPY, [_pack_event(erasure(1, 3))])
            cursor.execute(projector._add)
            retry = thread.submit(other.model.write, Batch([event(1, 1)], {}))
            eventually(lambda: retry.done() or opened.rows(WAITING))
        retry.result(20)
    assert opened.of(1) == [3]


def test_every_event_is_returned_as_it_was_on_the_log(opened: OpenHistory) -> None:
    """Deletions, unknown types and repeated events too; from any version on."""
    first = [event(1, 1, changes=[]), event(1, 2), event(1, 3, user=None, type="UserDeleted")]
    opened.write(*first, event(2))
    opened.write(*first[1:], event(1, 4, type="UserDreamt"))
    assert opened.store.get_events(user_id(1).upper()) == [*first, event(1, 4, type="UserDreamt")]
    assert opened.store.get_events(user_id(1), from_version=3)[0] == first[2]
    assert opened.store.get_events(user_id(1), from_version=9) == []
    with pytest.raises(Rejected) as unknown:
        opened.store.get_events(user_id(3))
    assert unknown.value.code == "user_not_found"
    assert opened.model.checkpoint() == {0: opened.position}


def test_an_erasure_leaves_its_marker_and_keeps_out_late_events_forever(
    opened: OpenHistory,
) -> None:
    """Whether older events come before, with or after it; the marker has no personal data."""
    opened.write(event(1), event(1, 2), event(2))
    opened.write(event(1, 3), erasure(1, 4))
    opened.write(event(3), event(3, 2), event(1, 1), event(1, 3), event(4))
    talkative = event(3, 3, type=USER_ERASED)
    opened.write(talkative, event(3, 1), removed=((user_id(1), 2), (user_id(3), 1)))
    opened.write(event(3, 1), event(3, 2), event(1, 2))
    assert [opened.of(number) for number in (1, 2, 3, 4)] == [[4], [1], [3], [1]]
    assert opened.store.get_events(user_id(1)) == [erasure(1, 4)]
    assert opened.store.get_events(user_id(3)) == [erasure(3, 3)]


def test_a_tombstone_deletes_its_row(opened: OpenHistory) -> None:
    """Only that row; an event of the same batch that comes later stays."""
    opened.write(event(1), event(1, 2), event(1, 3))
    opened.write(removed=((user_id(1), 2), (user_id(9), 1)))
    assert opened.of(1) == [1, 3]
    opened.write(event(1, 2), removed=((user_id(1), 2), (user_id(1), 3)))
    assert opened.of(1) == [1, 2]


def test_stored_rows_equal_the_rows_of_their_events(opened: OpenHistory) -> None:
    """Also those of erased and deleted users."""
    events = [event(1, changes=[]), event(1, 2), event(2, 2, user=None, type="UserDeleted")]
    events.append(event(3, 7, type=USER_ERASED))
    opened.write(*events)
    rows = [row for some in opened.model.rows() for row in some]
    assert sorted(rows, key=repr) == sorted(map(opened.model.row_of, events), key=repr)


def test_who_asked_is_shown_once_the_version_has_a_column_for_it(settings: Settings) -> None:
    """A version of the previous release is kept up to date without it, and can go live again."""
    table, *others = SHAPE.tables
    shape = replace(
        SHAPE,
        columns=SHAPE.columns[:-1],
        tables=(table.replace("    issued_by text,\n", ""), *others),
    )
    previous = PostgresVersions(settings, "history", WHOLE_HISTORY, shape, PostgresHistory)
    with closing(previous):
        previous.begin()
        with OpenHistory(settings) as opened:
            opened.write(event(1))
            assert opened.store.get_events(user_id(1)) == [event(1, issued_by=None)]
            assert [row for some in opened.model.rows() for row in some] == [
                opened.model.row_of(event(1))
            ]
            opened.versions.swap(ready_version(opened.versions, event(1)), at_once)
            assert opened.store.get_events(user_id(1)) == [event(1)]
            with pytest.raises(Misconfigured):
                previous.open(2)
            previous.swap(1, at_once)
            assert opened.store.get_events(user_id(1)) == [event(1, issued_by=None)]


def test_incoming_events_are_looked_up_by_key_however_long_the_history(opened: OpenHistory) -> None:
    """A plan that reads the whole table would make every batch slower than the one before."""
    opened.write(*[event(number) for number in range(3000)], erasure(1, 2))
    model: Any = opened.model
    with model.database.session() as connection:
        plan = connection.execute(b"EXPLAIN " + model._add.as_bytes(connection)).fetchall()
    shown = "\n".join(line for (line,) in plan)
    assert "user_history_erased" in shown
    assert "Seq Scan on user_history" not in shown


@pytest.mark.parametrize(
    "forged",
    [
        {"type": "Ja\0ne"},
        {"command_id": "\0"},
        {"changes": [{"field": f"{SECRET}\0", "before": None, "after": None}]},
        {"user": event(1)["user"] | {"age": 2**31}},  # type: ignore[operator]
        {"user": event(1)["user"] | {"name": f"{SECRET}\0"}},  # type: ignore[operator]
    ],
    ids=["type", "command id", "changes", "age", "name"],
)
def test_a_value_that_cannot_be_stored_is_poisoned_and_not_repeated(
    opened: OpenHistory, forged: dict[str, Any]
) -> None:
    with pytest.raises(Poisoned) as poisoned:
        opened.write(event(2), event(3, **forged))
    assert SECRET not in str(poisoned.value)
    opened.write(event(2))
    assert opened.of(2) == [1]


def test_a_read_model_that_was_never_built_is_missing(settings: Settings) -> None:
    with closing(EventStore(settings)) as store, pytest.raises(Unavailable) as missing:
        store.get_events(user_id(1))
    assert missing.value.code == "read_model_missing"
    assert "projector run history" in missing.value.next_step
