"""The read model of the history on real servers: what `write` promises, and a user's whole life."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from projectors.history.queries import EventStore
from projectors.history.writer import PostgresHistory
from projectors.read_model import Advance, Batch, EventKey, Position
from projectors.status import CAUGHT_UP, read_status
from runtime.kafka import producer
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import Fenced, Poisoned, Rejected, Unavailable
from schemas.identity import email_shard, event_id, new_user_id, partition_of, user_shard
from schemas.records import USER_ERASED, UserEvent
from schemas.topics import HISTORY
from scripts.bench.stores import remove_read_models
from tests.processes import Rollbook, RunningProcess, eventually

NOW = 1_700_000_000_000
SECRET = "qsecretq"


def id_of(number: int) -> str:
    """Return the id of user `number`."""
    return new_user_id(email_shard(f"user{number}@example.com"), NOW + number, number)


def event(number: int, version: int = 1, **fields: Any) -> UserEvent:
    """Return an event of user `number`."""
    email = f"user{number}@example.com"
    made: dict[str, Any] = {
        "event_id": event_id(id_of(number), version),
        "command_id": f"c{number}-{version}",
        "seq": version,
        "user_id": id_of(number),
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


class Held:
    """The read model of one test and its next checkpoint."""

    def __init__(self, settings: Settings) -> None:
        self.model = PostgresHistory(settings)
        self.store = EventStore(settings)
        self.position: Position | None = None
        self.model.prepare()

    def write(self, *events: UserEvent, removed: tuple[EventKey, ...] = ()) -> None:
        """Apply one batch of partition 0."""
        offset = self.position.next_offset if self.position else 0
        after = Position("topic", offset + 1, 0)
        self.model.write(Batch(events, {0: Advance(self.position, after)}, removed))
        self.position = after

    def versions(self, number: int) -> list[int]:
        """Return the versions there are of a user."""
        try:
            return [one["version"] for one in self.store.get_events(id_of(number))]
        except Rejected:
            return []


@pytest.fixture
def held(settings: Settings) -> Iterator[Held]:
    """An empty read model, dropped with the test."""
    held = Held(settings)
    yield held
    held.model.close()
    held.store.close()
    remove_read_models(settings)


def test_every_event_is_kept_as_it_stood_on_the_log(held: Held) -> None:
    """Also a deletion, other types, and what is applied twice; from any version on."""
    first = [event(1, 1, changes=[]), event(1, 2), event(1, 3, user=None, type="UserDeleted")]
    held.write(*first, event(2))
    held.write(*first[1:], event(1, 4, type="UserDreamt"))
    assert held.store.get_events(id_of(1).upper()) == [*first, event(1, 4, type="UserDreamt")]
    assert held.store.get_events(id_of(1), from_version=3)[0] == first[2]
    assert held.store.get_events(id_of(1), from_version=9) == []
    with pytest.raises(Rejected) as unknown:
        held.store.get_events(id_of(3))
    assert unknown.value.code == "user_not_found"
    assert held.model.checkpoint() == {0: held.position}


def test_what_happened_is_never_overwritten(held: Held) -> None:
    """Another event under a version that is there, in the same batch or later, changes nothing."""
    held.write(event(1), event(1, command_id="forged"))
    held.write(event(1, command_id="forged"))
    assert held.store.get_events(id_of(1)) == [event(1)]


def test_an_erasure_leaves_the_marker_and_refuses_what_comes_late_for_ever(held: Held) -> None:
    """Whether the past came before, with or after it; nothing personal, whatever it carries."""
    held.write(event(1), event(1, 2), event(2))
    held.write(event(1, 3), erasure(1, 4))
    held.write(event(3), event(3, 2), event(1, 1), event(1, 3), event(4))
    talkative = event(3, 3, type=USER_ERASED)
    held.write(talkative, event(3, 1), removed=((id_of(1), 2), (id_of(3), 1)))
    held.write(event(3, 1), event(3, 2), event(1, 2))
    assert [held.versions(number) for number in (1, 2, 3, 4)] == [[4], [1], [3], [1]]
    assert held.store.get_events(id_of(1)) == [erasure(1, 4)]
    assert held.store.get_events(id_of(3)) == [erasure(3, 3)]


def test_a_tombstone_deletes_its_row(held: Held) -> None:
    """That row alone, and an event of the same batch that comes after it stays."""
    held.write(event(1), event(1, 2), event(1, 3))
    held.write(removed=((id_of(1), 2), (id_of(9), 1)))
    assert held.versions(1) == [1, 3]
    held.write(event(1, 2), removed=((id_of(1), 2), (id_of(1), 3)))
    assert held.versions(1) == [1, 2]


def test_a_zombie_and_a_reset_change_nothing_behind_the_checkpoint(
    held: Held, settings: Settings
) -> None:
    """Who is not where the checkpoint is, is fenced; so is whoever was writing at a reset."""
    held.write(event(1))
    with closing(PostgresHistory(settings)) as zombie, pytest.raises(Fenced):
        zombie.write(Batch([event(2)], {0: Advance(None, Position("topic", 9, 9))}))
    assert held.versions(2) == []
    held.model.reset()
    assert (held.versions(1), held.model.checkpoint()) == ([], {})
    with pytest.raises(Fenced):
        held.write(event(2))


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
    held: Held, forged: dict[str, Any]
) -> None:
    with pytest.raises(Poisoned) as poisoned:
        held.write(event(2), event(3, **forged))
    assert SECRET not in str(poisoned.value)
    held.write(event(2))
    assert held.versions(2) == [1]


def test_a_read_model_that_was_never_built_says_so(settings: Settings) -> None:
    with closing(EventStore(settings)) as store, pytest.raises(Unavailable) as missing:
        store.get_events(id_of(1))
    assert missing.value.code == "read_model_missing"
    assert "projector run history" in missing.value.next_step


@pytest.fixture
def projector(rollbook: Rollbook, settings: Settings) -> Iterator[RunningProcess]:
    """The projector of the history, running; what it made goes with the test."""
    yield rollbook.start_projector("history")
    rollbook.stop_all()
    remove_read_models(settings)


def wait_current(settings: Settings) -> None:
    """Wait until the history has every event there is."""

    def current() -> bool:
        found = [s for s in read_status(settings).partitions if s.read_model == "history"]
        return all(one.state == CAUGHT_UP and one.lag == 0 for one in found)

    eventually(current, what="caught up")


def history(rollbook: Rollbook, user_id: str) -> list[dict[str, Any]]:
    """Return what `users history` prints for programs."""
    done = rollbook.run("users", "history", user_id, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_one_users_whole_life(
    rollbook: Rollbook, settings: Settings, handler: RunningProcess, projector: RunningProcess
) -> None:
    """Created, updated, moved, deleted: each step and state is told; erased: only that it was."""
    before = datetime.now(UTC)
    jane = ("--email", f"{SECRET}@example.com", "--name", SECRET, "--age", "34")
    user_id = rollbook.json("users", "create", *jane, "--command-id", "first")["user_id"]
    rollbook.json("users", "update", user_id, "--name", "Jane Döring", "--age", "35")
    rollbook.json("users", "change-email", user_id, "--email", f"{SECRET}2@example.com")
    rollbook.json("users", "delete", user_id)
    other = rollbook.json("users", "create", *jane)["user_id"]
    wait_current(settings)

    each_step_is_told(rollbook, user_id)
    with closing(EventStore(settings)) as store:
        refused(lambda: store.get_user_at(user_id, before), "user_not_yet_created")
        refused(lambda: store.get_user_at(user_id, datetime.now(UTC)), "user_deleted")
        refused(lambda: store.get_user_at_version(user_id, 5), "version_not_found")

        rollbook.json("users", "erase", user_id, "--yes")
        eventually(lambda: len(store.get_events(user_id)) == 1, what="the marker alone")
        [marker] = store.get_events(user_id)
        assert (marker["version"], marker["type"], marker["user"]) == (5, USER_ERASED, None)
        refused(lambda: store.get_user_at_version(user_id, 2), "user_erased")
        refused(lambda: store.get_user_at(user_id, before), "user_erased")
        assert SECRET not in rollbook.run("users", "history", user_id).stdout

        held = [store.get_events(one) for one in (user_id, other)]
        late_copies(settings, user_id)
        assert rollbook.run("projector", "reset", "history", "--yes").returncode == 0
        wait_current(settings)
        assert [store.get_events(one) for one in (user_id, other)] == held
    only_the_late_copies_are_wrong(rollbook)
    assert SECRET not in projector.text()


def each_step_is_told(rollbook: Rollbook, user_id: str) -> None:
    """By the commands, for programs and for people."""
    told = history(rollbook, user_id)
    kinds = ["UserCreated", "UserUpdated", "UserEmailChanged", "UserDeleted"]
    assert [(one["version"], one["type"]) for one in told] == list(enumerate(kinds, 1))
    assert told[0]["command_id"] == "first"
    assert told[1]["changes"] == [
        {"field": "name", "before": SECRET, "after": "Jane Döring"},
        {"field": "age", "before": 34, "after": 35},
    ]
    assert {change["after"] for change in told[3]["changes"]} == {None}
    table = rollbook.run("users", "history", user_id, "--from-version", "2").stdout.splitlines()
    assert table[0].split("\t")[-3:] == ["field", "before", "after"]
    assert len(table) == 1 + 2 + 1 + 3

    get = ("users", "get", user_id)
    second = rollbook.json(*get, "--at-version", "2")
    assert (second["name"], second["age"], second["version"]) == ("Jane Döring", 35, 2)
    assert second["email"] == f"{SECRET}@example.com"
    third = rollbook.json(*get, "--at", told[2]["occurred_at"])
    assert third["email"] == f"{SECRET}2@example.com"
    assert third["updated_at"] == told[2]["occurred_at"]


def refused(asked: Callable[[], object], code: str) -> None:
    """Require that a question is refused with this code."""
    with pytest.raises(Rejected) as rejected:
        asked()
    assert rejected.value.code == code


def late_copies(settings: Settings, user_id: str) -> None:
    """Put an erased user's past on the log again, after its marker."""
    codec = Registry(settings).codec(HISTORY.schema)
    partition = partition_of(user_shard(user_id), settings.partitions)
    client = producer(settings)
    for version in (1, 2):
        copy = event(1, version, user_id=user_id, event_id=event_id(user_id, version))
        copy |= {"seq": 1000 + version, "occurred_at": 2 * NOW}
        client.produce(
            settings.named(HISTORY.name), codec.encode(copy), copy["event_id"], partition
        )
    assert client.flush(30) == 0


def only_the_late_copies_are_wrong(rollbook: Rollbook) -> None:
    """The verifier tells of them on the log; the read model is as it must be all the same."""
    lines = rollbook.run("verify", "--timeout", "0", "--json").stdout.splitlines()
    checks = {one["check"]: one for one in map(json.loads, lines) if "history: " in one["check"]}
    assert [name for name, check in checks.items() if not check["holds"]] == [
        "history: seq is 1, 2, 3 … in every partition",
        "history: each user's versions are 1, 2, 3 …",
    ]
    assert checks["history: holds exactly the fold of user-history"]["looked_at"] == 2
    assert checks["history: of the erased it holds the marker and nothing else"]["looked_at"] == 1
