"""`rollbook upgrade` and `rollbook handler repair` on real servers."""

import pytest

from runtime.settings import Settings
from schemas.identity import partition_of, user_shard
from schemas.topics import EVENTS
from tests.observed.log import put
from tests.started.processes import Rollbook, RunningProcess, eventually

NEW = ("users", "create", "--email", "jane@example.com", "--name", "Jane", "--age", "34")


def test_an_upgrade_is_finalised_once_and_changes_what_is_written(
    rollbook: Rollbook, handler: RunningProcess, projectors: dict[str, RunningProcess]
) -> None:
    """Who asked is kept from then on; projectors and verify pass over the marks."""
    count = rollbook.settings.partitions
    user_id = rollbook.json(*NEW, "--issued-by", "before")["user_id"]
    found = rollbook.ndjson("upgrade", "status")
    assert [(one["format"], one["answer"]) for one in found] == [(1, "ready")] * count
    assert {one["handler"].partition(" on ")[0] for one in found} == {"a"}
    for changed in (True, False):
        found = rollbook.ndjson("upgrade", "finalise", "--yes", "--issued-by", "deploy")
        assert [(one["format"], one["changed"]) for one in found] == [(2, changed)] * count
    names = ",".join(projectors)
    update = ("users", "update", user_id, "--age", "35", "--issued-by", "after")
    rollbook.json(*update, "--wait", names)
    events = rollbook.ndjson("events", "tail", "--from", "beginning", "--no-follow")
    assert [event["issued_by"] for event in events] == [None, "after"]
    handler.stop()
    found = rollbook.ndjson("upgrade", "status", "--timeout", "1")
    assert [(one["format"], one["answer"]) for one in found] == [(2, "no answer")] * count
    rollbook.start_handler()
    verified = rollbook.run("verify")
    assert verified.returncode == 0, verified.stdout
    assert rollbook.ndjson("dead-letters", "list") == []


@pytest.mark.usefixtures("settings")
def test_nothing_is_finalised_without_a_handler(rollbook: Rollbook) -> None:
    error = rollbook.json("upgrade", "finalise", "--yes", "--timeout", "0.5", code=4)["error"]
    assert error["code"] == "no_handler"
    assert "no partition was changed" in error["message"]


def test_an_unreadable_record_is_repaired_from_the_history(
    settings: Settings, rollbook: Rollbook, handler: RunningProcess
) -> None:
    """Only while no handler runs; the partition is decided again, and verify finds the user."""
    user_id = rollbook.json(*NEW)["user_id"]
    rollbook.json("users", "update", user_id, "--age", "35")
    repair = ("handler", "repair", user_id)
    assert rollbook.json(*repair, code=3)["error"]["code"] == "handlers_running"
    handler.stop()
    home = partition_of(user_shard(user_id), settings.partitions)
    put(settings, EVENTS, (user_id, b"no avro", home))
    # A static member stays in the group until its session ends.
    eventually(lambda: rollbook.run(*repair).returncode == 0)
    rollbook.start_handler()
    again = rollbook.json("users", "update", user_id, "--age", "36", "--expected-version", "2")
    assert again["version"] == 3
