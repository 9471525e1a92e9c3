"""One command and its answer, on real servers."""

import pytest

from producers.client import CommandClient, create_command, find_outcome
from runtime.settings import Settings
from schemas.errors import Misconfigured, Unavailable
from schemas.identity import email_shard, user_shard
from schemas.topics import OUTCOMES
from tests.observed.log import put, send
from tests.started.processes import Rollbook, RunningProcess, eventually
from tests.started.roles import SECURE

NOBODY = "018bcfe5-6800-7abc-8000-000000000000"
JANE = ("users", "create", "--email", "jane@example.com", "--name", "Jane", "--age", "34")


def test_a_user_is_created_and_changed(settings: Settings, handler: RunningProcess) -> None:
    """The answer has user id, version and token; the id has the address's shard."""
    with CommandClient(settings) as client:
        created = client.create_user("Jane@Example.com", "Jane", 34)
        changed = client.update_user(created.user_id, age=35, expected_version=1)
        unchanged = client.update_user(created.user_id, age=35)
    assert (created.accepted, created.version) == (True, 1)
    assert user_shard(created.user_id or "") == email_shard("jane@example.com")
    partition = (created.token or "").split(":")[0]
    assert [o.token for o in (created, changed, unchanged)] == [
        f"{partition}:1",
        f"{partition}:2",
        f"{partition}:2",
    ]
    assert [changed.version, unchanged.version] == [2, 2]


def test_sending_again_with_the_same_id_repeats_the_answer(
    settings: Settings, handler: RunningProcess
) -> None:
    with CommandClient(settings) as client:
        first = client.create_user("jane@example.com", "Jane", 34, "c-1")
        again = client.create_user("jane@example.com", "Jane", 34, "c-1")
    assert again.repeated
    assert again.as_fields() == first.as_fields()


def test_without_a_handler_a_command_is_answered_once_one_starts(
    settings: Settings, rollbook: Rollbook
) -> None:
    """The command is on the log, so `commands show` finds its answer once a handler has run."""
    error = rollbook.json(*JANE, "--timeout", "2", "--command-id", "c", code=4)["error"]
    assert error["code"] == "not_in_time"
    assert "command c " in error["message"]
    assert "rollbook commands show c" in error["next"]
    assert rollbook.json("commands", "show", "c", code=4)["error"]["code"] == "not_decided"
    handler = rollbook.start_handler()
    eventually(lambda: rollbook.run("commands", "show", "c").returncode == 0)
    assert rollbook.json("commands", "show", "c")["status"] == "accepted"
    assert rollbook.json(*JANE, "--command-id", "c")["version"] == 1
    assert rollbook.json("commands", "show", "d", code=3)["error"]["code"] == "command_not_found"
    assert handler.stop() == 0


def test_an_answer_to_an_earlier_command_of_the_same_id_is_skipped(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Two commands with one id wait for a handler; each sender gets its own answer."""
    command = create_command("jane@example.com", "Jane", 34, "c-1")
    send(settings, [command])
    with CommandClient(settings, timeout_seconds=60) as client:
        rollbook.start_handler(wait=False)
        other = client.create_user("jane@example.com", "Other", 34, "c-1")
    assert other.code == "command_id_reused"
    assert find_outcome(settings, "c-1").accepted


def test_foreign_bytes_with_the_id_as_key_are_skipped(
    settings: Settings, handler: RunningProcess
) -> None:
    """By the client that waits and by `find_outcome`."""
    put(settings, OUTCOMES, *(("c-1", b"?", number) for number in range(settings.partitions)))
    with CommandClient(settings) as client:
        assert client.create_user("jane@example.com", "Jane", 34, "c-1").accepted
    assert find_outcome(settings, "c-1").accepted


def test_missing_topics_and_other_partitions_are_refused(
    settings: Settings, rollbook: Rollbook
) -> None:
    """A command must not go to a partition that does not own its user."""
    rollbook.overrides["ROLLBOOK_PARTITIONS"] = "8"
    assert rollbook.json(*JANE, code=2)["error"]["code"] == "other_partitions"
    rollbook.overrides["ROLLBOOK_PREFIX"] = f"{settings.prefix}-none"
    error = rollbook.json(*JANE, code=2)["error"]
    # Brokers do not tell whoever may not describe a topic that it does not exist.
    assert error["code"] == ("kafka_forbidden" if SECURE else "missing_topic")
    assert SECURE or error["next"] == "`rollbook topics ensure` creates it"


def test_a_client_without_topics_or_broker_cannot_be_constructed(settings: Settings) -> None:
    from dataclasses import replace

    with pytest.raises(Misconfigured):
        CommandClient(replace(settings, prefix=f"{settings.prefix}-none"))
    with pytest.raises(Unavailable):
        CommandClient(replace(settings, kafka_bootstrap_servers="127.0.0.1:1"))
