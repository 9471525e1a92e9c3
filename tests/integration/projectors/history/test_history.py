"""The history of one user, from creation to erasure, through the real commands."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from projectors.history.queries import EventStore
from projectors.promises.events import NOW
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import Rejected
from schemas.identity import event_id, partition_of, user_shard
from schemas.records import USER_ERASED
from schemas.topics import HISTORY
from tests.integration.projectors.history.test_history_model import SECRET, event
from tests.observed.catch_up import wait_caught_up
from tests.observed.log import put
from tests.started.processes import Rollbook, RunningProcess, eventually


@pytest.fixture
def projector(rollbook: Rollbook) -> RunningProcess:
    """The projector of the history, running."""
    return rollbook.start_projector("history")


def test_the_whole_life_of_one_user(
    rollbook: Rollbook, settings: Settings, handler: RunningProcess, projector: RunningProcess
) -> None:
    """Every change and state is shown until the user is erased; then only the erasure is."""
    before = datetime.now(UTC)
    jane = ("--email", f"{SECRET}@example.com", "--name", SECRET, "--age", "34")
    user_id = rollbook.json("users", "create", *jane, "--command-id", "first")["user_id"]
    rollbook.json("users", "update", user_id, "--name", "Jane Döring", "--age", "35")
    rollbook.json("users", "change-email", user_id, "--email", f"{SECRET}2@example.com")
    rollbook.json("users", "delete", user_id)
    other = rollbook.json("users", "create", *jane)["user_id"]
    wait_caught_up(settings, "history")

    assert_every_step_is_shown(rollbook, user_id)
    with closing(EventStore(settings)) as store:
        refused(lambda: store.get_user_at(user_id, before), "user_not_yet_created")
        refused(lambda: store.get_user_at(user_id, datetime.now(UTC)), "user_deleted")
        refused(lambda: store.get_user_at_version(user_id, 5), "version_not_found")

        rollbook.json("users", "erase", user_id, "--yes")
        eventually(lambda: len(store.get_events(user_id)) == 1, what="only the marker")
        [marker] = store.get_events(user_id)
        assert (marker["version"], marker["type"], marker["user"]) == (5, USER_ERASED, None)
        refused(lambda: store.get_user_at_version(user_id, 2), "user_erased")
        refused(lambda: store.get_user_at(user_id, before), "user_erased")
        assert SECRET not in rollbook.run("users", "history", user_id).stdout

        before_rebuild = [store.get_events(one) for one in (user_id, other)]
        late_copies(settings, user_id)
        assert rollbook.run("projector", "rebuild", "history").returncode == 0
        assert rollbook.run("projector", "swap", "history", "2").returncode == 0
        wait_caught_up(settings, "history")
        assert [store.get_events(one) for one in (user_id, other)] == before_rebuild
    assert_only_the_late_copies_are_wrong(rollbook)
    assert SECRET not in projector.text()


def assert_every_step_is_shown(rollbook: Rollbook, user_id: str) -> None:
    """Check the output of the commands, for programs and for people."""
    shown = rollbook.ndjson("users", "history", user_id)
    kinds = ["UserCreated", "UserUpdated", "UserEmailChanged", "UserDeleted"]
    assert [(one["version"], one["type"]) for one in shown] == list(enumerate(kinds, 1))
    assert shown[0]["command_id"] == "first"
    assert shown[1]["changes"] == [
        {"field": "name", "before": SECRET, "after": "Jane Döring"},
        {"field": "age", "before": 34, "after": 35},
    ]
    assert {change["after"] for change in shown[3]["changes"]} == {None}
    table = rollbook.run("users", "history", user_id, "--from-version", "2").stdout.splitlines()
    assert table[0].split("\t")[-4:] == ["field", "before", "after", "issued_by"]
    assert len(table) == 1 + 2 + 1 + 3

    get = ("users", "get", user_id)
    second = rollbook.json(*get, "--at-version", "2")
    assert (second["name"], second["age"], second["version"]) == ("Jane Döring", 35, 2)
    assert second["email"] == f"{SECRET}@example.com"
    third = rollbook.json(*get, "--at", shown[2]["occurred_at"])
    assert third["email"] == f"{SECRET}2@example.com"
    assert third["updated_at"] == shown[2]["occurred_at"]


def refused(query: Callable[[], object], code: str) -> None:
    """Check that a query is refused with this code."""
    with pytest.raises(Rejected) as rejected:
        query()
    assert rejected.value.code == code


def late_copies(settings: Settings, user_id: str) -> None:
    """Write events of an erased user to the log again, after its erasure."""
    encode = Registry(settings).codec(HISTORY.schema).encode
    partition = partition_of(user_shard(user_id), settings.partitions)
    own: dict[str, Any] = {"user_id": user_id, "occurred_at": 2 * NOW}
    copies = [
        event(1, version, event_id=event_id(user_id, version), seq=1000 + version, **own)
        for version in (1, 2)
    ]
    put(settings, HISTORY, *((copy["event_id"], encode(copy), partition) for copy in copies))


def assert_only_the_late_copies_are_wrong(rollbook: Rollbook) -> None:
    """`verify` reports them on the log; the read model is correct despite them."""
    lines = rollbook.run("verify", "--timeout", "0", "--json").stdout.splitlines()
    checks = {one["check"]: one for one in map(json.loads, lines)}
    assert not checks["history: each user's versions are 1, 2, 3 …"]["holds"]
    assert checks["history: has applied the log to its end"]["holds"]
    for name, rows in (
        ("history: holds exactly the fold of user-history", 2),
        ("history: it holds only the marker of an erased user", 1),
    ):
        assert (checks[name]["holds"], checks[name]["looked_at"]) == (True, rows)
