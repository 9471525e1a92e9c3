"""One command and its answer, on real servers."""

import pytest

from producers.client import CommandClient, create_command, find_outcome
from runtime.settings import Settings
from schemas.errors import Misconfigured, NotInTime, Rejected, Unavailable
from schemas.identity import email_shard, user_shard
from schemas.topics import OUTCOMES
from tests.log import put, send
from tests.processes import Rollbook, RunningProcess

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


def test_each_rejection_has_its_code(settings: Settings, handler: RunningProcess) -> None:
    """A rejection is returned like any answer."""
    with CommandClient(settings) as client:
        jane = client.create_user("jane@example.com", "Jane", 34, "c-1")
        taken = client.create_user("JANE@example.com", "Other", 3)
        gone = client.update_user(NOBODY, age=3)
        behind = client.update_user(jane.user_id, age=3, expected_version=9)
        reused = client.create_user("jane@example.com", "Another", 34, "c-1")
    assert (taken.code, taken.user_id) == ("user_already_exists", jane.user_id)
    assert [gone.code, behind.code, reused.code] == [
        "user_not_found",
        "version_conflict",
        "command_id_reused",
    ]


def test_sending_again_with_the_same_id_repeats_the_answer(
    settings: Settings, handler: RunningProcess
) -> None:
    """The second answer is the first one again."""
    with CommandClient(settings) as client:
        first = client.create_user("jane@example.com", "Jane", 34, "c-1")
        again = client.create_user("jane@example.com", "Jane", 34, "c-1")
    assert again.repeated
    assert again.as_fields() == first.as_fields()


def test_without_a_handler_the_wait_ends_and_the_answer_is_found_later(
    settings: Settings, rollbook: Rollbook
) -> None:
    """The error names the command; once a handler runs, the answer can be looked up."""
    with (
        CommandClient(settings, timeout_seconds=0.5) as client,
        pytest.raises(NotInTime) as raised,
    ):
        client.create_user("jane@example.com", "Jane", 34, "c-1")
    assert "c-1" in str(raised.value)
    assert "`rollbook commands show c-1`" in raised.value.next_step
    with pytest.raises(NotInTime) as undecided:
        find_outcome(settings, "c-1")
    assert undecided.value.code == "not_decided"
    rollbook.start_handler()
    with CommandClient(settings) as client:
        again = client.create_user("jane@example.com", "Jane", 34, "c-1")
    assert again.accepted
    assert find_outcome(settings, "c-1").as_fields() == again.as_fields()


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


def test_without_a_broker_or_a_registry_nothing_is_sent(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Exit 5."""
    rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    assert rollbook.json(*JANE, code=5)["error"]["code"] == "kafka_unavailable"
    rollbook.overrides["ROLLBOOK_REGISTRY_URL"] = "http://127.0.0.1:1"
    assert rollbook.json(*JANE, code=5)["error"]["code"] == "registry_unavailable"


def test_missing_topics_and_other_partitions_are_refused(
    settings: Settings, rollbook: Rollbook
) -> None:
    """A command must not go to a partition that does not own its user."""
    rollbook.overrides["ROLLBOOK_PARTITIONS"] = "8"
    assert rollbook.json(*JANE, code=2)["error"]["code"] == "other_partitions"
    rollbook.overrides["ROLLBOOK_PREFIX"] = f"{settings.prefix}-none"
    error = rollbook.json(*JANE, code=2)["error"]
    assert (error["code"], error["next"]) == (
        "missing_topic",
        "`rollbook topics ensure` creates it",
    )


def test_the_command_line_keeps_the_contract(rollbook: Rollbook, handler: RunningProcess) -> None:
    """Outcomes on stdout, errors on stderr, the right exit code."""
    created = rollbook.json(*JANE)
    user_id, command_id = created["user_id"], created["command_id"]
    assert list(created) == [
        "command_id",
        "status",
        "user_id",
        "version",
        "code",
        "message",
        "token",
    ]
    taken = rollbook.run(*JANE)
    assert taken.returncode == 3
    assert "user_already_exists" in taken.stdout
    assert f"rollbook users get {user_id}" in taken.stderr
    changed = rollbook.json("users", "update", user_id, "-", stdin='{"name": "Zoë", "age": 35}')
    assert changed["version"] == 2
    assert rollbook.json("commands", "show", command_id) == created
    unknown = rollbook.json("commands", "show", "never-sent", code=3)
    assert unknown["error"]["code"] == "command_not_found"


def test_text_that_is_not_a_command_id_is_rejected(settings: Settings) -> None:
    """Before the log is read."""
    with pytest.raises(Rejected):
        find_outcome(settings, "two words")


def test_a_client_without_topics_or_broker_cannot_be_constructed(settings: Settings) -> None:
    """A wrong set-up shows at once."""
    from dataclasses import replace

    with pytest.raises(Misconfigured):
        CommandClient(replace(settings, prefix=f"{settings.prefix}-none"))
    with pytest.raises(Unavailable):
        CommandClient(replace(settings, kafka_bootstrap_servers="127.0.0.1:1"))
