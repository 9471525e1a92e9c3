"""The read model of the history on a real server: what `write` promises, and what is asked."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from projectors.contract.read_model import Advance, Batch, Dropped, Position
from projectors.history.queries import EventStore
from projectors.history.writer import history_versions
from projectors.promises.events import NOW, user_id
from runtime.settings import Settings
from schemas.errors import Fenced, Poisoned, Rejected, Unavailable
from schemas.identity import event_id
from schemas.records import USER_ERASED, UserEvent
from tests.read_models import Held

SECRET = "qsecretq"


def event(number: int, version: int = 1, **fields: Any) -> UserEvent:
    """Return an event of user `number`."""
    email = f"user{number}@example.com"
    made: dict[str, Any] = {
        "event_id": event_id(user_id(number), version),
        "command_id": f"c{number}-{version}",
        "seq": version,
        "user_id": user_id(number),
        "version": version,
        "occurred_at": NOW + 1000 * version,
        "type": "UserUpdated",
        "changes": [
            {"field": "age", "before": version - 1, "after": version},
            {"field": "name", "before": 'a "quoted" \\ näme', "after": None},
        ],
        "user": {
            "email": email,
            "email_key": email,
            "name": "Zoë Ωmega",
            "age": version,
            "created_at": NOW,
            "created_by": "c",
        },
    }
    return made | fields  # type: ignore[return-value]


def erasure(number: int, version: int) -> UserEvent:
    """Return the marker of an erasure."""
    return event(number, version, type=USER_ERASED, user=None, changes=[])


class HeldHistory(Held):
    """The read model of one test, and what is asked of it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(history_versions(settings))
        self.store = EventStore(settings)

    def of(self, number: int) -> list[int]:
        """Return the versions there are of a user."""
        try:
            return [one["version"] for one in self.store.get_events(user_id(number))]
        except Rejected:
            return []

    def close(self) -> None:
        """Let go of connections."""
        self.store.close()
        super().close()


@pytest.fixture
def held(settings: Settings) -> Iterator[HeldHistory]:
    """An empty read model, dropped with the test."""
    with HeldHistory(settings) as held:
        yield held


def test_every_event_is_kept_as_it_stood_on_the_log(held: HeldHistory) -> None:
    """Also a deletion, other types, and what is applied twice; from any version on."""
    first = [event(1, 1, changes=[]), event(1, 2), event(1, 3, user=None, type="UserDeleted")]
    held.write(*first, event(2))
    held.write(*first[1:], event(1, 4, type="UserDreamt"))
    assert held.store.get_events(user_id(1).upper()) == [*first, event(1, 4, type="UserDreamt")]
    assert held.store.get_events(user_id(1), from_version=3)[0] == first[2]
    assert held.store.get_events(user_id(1), from_version=9) == []
    with pytest.raises(Rejected) as unknown:
        held.store.get_events(user_id(3))
    assert unknown.value.code == "user_not_found"
    assert held.model.checkpoint() == {0: held.position}


def test_what_happened_is_never_overwritten(held: HeldHistory) -> None:
    """Another event under a version that is there, in the same batch or later, changes nothing."""
    held.write(event(1), event(1, command_id="forged"))
    held.write(event(1, command_id="forged"))
    assert held.store.get_events(user_id(1)) == [event(1)]


def test_an_erasure_leaves_the_marker_and_refuses_what_comes_late_for_ever(
    held: HeldHistory,
) -> None:
    """Whether the past came before, with or after it; nothing personal, whatever it carries."""
    held.write(event(1), event(1, 2), event(2))
    held.write(event(1, 3), erasure(1, 4))
    held.write(event(3), event(3, 2), event(1, 1), event(1, 3), event(4))
    talkative = event(3, 3, type=USER_ERASED)
    held.write(talkative, event(3, 1), removed=((user_id(1), 2), (user_id(3), 1)))
    held.write(event(3, 1), event(3, 2), event(1, 2))
    assert [held.of(number) for number in (1, 2, 3, 4)] == [[4], [1], [3], [1]]
    assert held.store.get_events(user_id(1)) == [erasure(1, 4)]
    assert held.store.get_events(user_id(3)) == [erasure(3, 3)]


def test_a_tombstone_deletes_its_row(held: HeldHistory) -> None:
    """That row alone, and an event of the same batch that comes after it stays."""
    held.write(event(1), event(1, 2), event(1, 3))
    held.write(removed=((user_id(1), 2), (user_id(9), 1)))
    assert held.of(1) == [1, 3]
    held.write(event(1, 2), removed=((user_id(1), 2), (user_id(1), 3)))
    assert held.of(1) == [1, 2]


def test_a_zombie_changes_nothing_behind_the_checkpoint(held: HeldHistory) -> None:
    """Who is not where the checkpoint is, is fenced; who writes to a dropped version, is told."""
    held.write(event(1))
    number = held.versions.create()
    dropped = held.versions.open(number)
    held.versions.drop(number)
    with closing(held.versions.open(1)) as zombie, closing(dropped):
        step = {0: Advance(None, Position("topic", 9, 9))}
        with pytest.raises(Fenced):
            zombie.write(Batch([event(2)], step))
        with pytest.raises(Dropped):
            dropped.write(Batch([event(2)], step))
    assert held.of(2) == []


def test_what_is_held_is_compared_row_by_row(held: HeldHistory) -> None:
    """A row as it is held equals the row that its event makes, also of an erased or gone user."""
    events = [event(1, changes=[]), event(1, 2), event(2, 2, user=None, type="UserDeleted")]
    events.append(event(3, 7, type=USER_ERASED))
    held.write(*events)
    rows = [row for some in held.model.rows() for row in some]
    assert sorted(rows, key=repr) == sorted(map(held.model.row_of, events), key=repr)


def test_what_arrives_is_looked_up_by_its_key_however_long_the_history(held: HeldHistory) -> None:
    """A plan that reads the whole of it would make every batch slower than the one before."""
    held.write(*[event(number) for number in range(3000)], erasure(1, 2))
    model: Any = held.model
    with model._database.session() as connection:
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
def test_what_cannot_be_stored_is_poisoned_without_a_word_of_it(
    held: HeldHistory, forged: dict[str, Any]
) -> None:
    with pytest.raises(Poisoned) as poisoned:
        held.write(event(2), event(3, **forged))
    assert SECRET not in str(poisoned.value)
    held.write(event(2))
    assert held.of(2) == [1]


def test_a_read_model_that_was_never_built_says_so(settings: Settings) -> None:
    with closing(EventStore(settings)) as store, pytest.raises(Unavailable) as missing:
        store.get_events(user_id(1))
    assert missing.value.code == "read_model_missing"
    assert "projector run history" in missing.value.next_step
