"""Deciding commands on a partition: outcomes, repeats, batches, restores.

The rules of the aggregate itself are tested in `test_aggregate`.
"""

import pytest

from schemas.errors import Poisoned
from schemas.records import UserCommand
from tests.samples.given import NOW, PARTITIONS, Partition, create, home_of, registered, update

JANE = "jane@example.com"


def test_a_taken_address_is_refused_and_the_holder_named() -> None:
    partition = registered()
    outcome = partition.ask(create("JANE@example.com", "Other", 20, command_id="second"))
    assert outcome["code"] == "user_already_exists"
    assert outcome["user_id"] == partition.events[0]["user_id"]
    assert len(partition.events) == 1


def test_two_creations_of_one_address_in_one_batch_make_one_user() -> None:
    partition = Partition(home_of(JANE))
    first, second = partition.batch(create(JANE, command_id="one"), create(JANE, command_id="two"))
    assert (first["status"], second["code"]) == ("accepted", "user_already_exists")


def test_an_aborted_batch_leaves_nothing_behind() -> None:
    partition = Partition(home_of(JANE))
    partition.batch(create(JANE, command_id="one"), commit=False)
    outcome = partition.ask(create(JANE, command_id="two"))
    assert (outcome["status"], outcome["seq"]) == ("accepted", 1)


def test_an_update_that_changes_nothing_makes_no_event() -> None:
    partition = registered(name="Jane", age=34)
    user_id = partition.events[0]["user_id"]
    outcome = partition.ask(update(user_id, name=" Jane ", age=34))
    assert (outcome["status"], outcome["version"], outcome["seq"]) == ("accepted", 1, 1)
    assert len(partition.events) == 1


def test_an_unknown_user_is_not_found() -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"][:-1] + "f"
    assert partition.ask(update(user_id, age=5))["code"] == "user_not_found"


@pytest.mark.parametrize(("expected", "code"), [(1, None), (2, "version_conflict")])
def test_an_expected_version_must_be_the_users(expected: int, code: str | None) -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"]
    outcome = partition.ask(update(user_id, age=35, expected_version=expected))
    assert outcome["code"] == code
    if code:
        assert outcome["version"] == 1


def test_of_two_updates_expecting_one_version_only_one_succeeds() -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"]
    outcomes = partition.batch(
        update(user_id, age=35, expected_version=1, command_id="a"),
        update(user_id, age=36, expected_version=1, command_id="b"),
    )
    assert [o["code"] for o in outcomes] == [None, "version_conflict"]


@pytest.mark.parametrize(
    "command",
    [
        create("no address", command_id="x"),
        create(JANE, name="   ", command_id="x"),
        create(JANE, name="a\x00b", command_id="x"),
        create(JANE, name="n" * 201, command_id="x"),
        create(JANE, age=151, command_id="x"),
        create(JANE, age=-1, command_id="x"),
        update("no-uuid", name="x", command_id="x"),
        update("0190f5d8-1c2e-7abc-8def-0123456789ab", command_id="x"),
        update("0190f5d8-1c2e-7abc-8def-0123456789ab", age=5, expected_version=0, command_id="x"),
        {**create(JANE, command_id="x"), "kind": "PromoteUser"},
    ],
)
def test_a_command_that_breaks_a_rule_is_invalid(command: UserCommand) -> None:
    partition = Partition(home_of(JANE))
    outcome = partition.ask(command)
    assert (outcome["status"], outcome["code"]) == ("rejected", "invalid_command")
    assert not partition.events


def test_a_command_on_the_wrong_partition_is_refused() -> None:
    partition = Partition((home_of(JANE) + 1) % PARTITIONS)
    assert partition.ask(create(JANE))["code"] == "wrong_partition"
    assert not partition.events


@pytest.mark.parametrize("command_id", ["", "x" * 65, "with space", "tab\t", "é"])
def test_a_command_that_cannot_be_answered_is_poisoned(command_id: str) -> None:
    with pytest.raises(Poisoned) as caught:
        Partition(home_of(JANE)).ask({**create(JANE), "command_id": command_id})
    assert caught.value.code == "bad_command_id"


def test_a_repeated_command_gets_the_same_answer_and_makes_no_event() -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"]
    first = partition.ask(update(user_id, age=35, command_id="u"))
    partition.ask(update(user_id, age=36, command_id="v"))
    again = partition.ask(update(user_id, age=35, command_id="u"))
    assert again["repeated"]
    assert [again[k] for k in ("status", "version", "seq", "user_id")] == [
        first[k] for k in ("status", "version", "seq", "user_id")
    ]
    assert len(partition.events) == 3


def test_a_repeated_refusal_stays_a_refusal() -> None:
    partition = registered()
    partition.ask(create(JANE, command_id="late"))
    again = partition.ask(create(JANE, command_id="late"))
    assert (again["code"], again["repeated"]) == ("user_already_exists", True)


def test_versions_and_seq_have_no_gap_and_time_never_goes_back() -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"]
    partition.now -= 60_000
    for n in range(5):
        partition.ask(update(user_id, age=n, command_id=f"u{n}"))
    assert [e["version"] for e in partition.events] == [1, 2, 3, 4, 5, 6]
    assert [e["seq"] for e in partition.events] == [1, 2, 3, 4, 5, 6]
    assert {e["occurred_at"] for e in partition.events} == {NOW}


def test_the_state_after_a_restore_equals_the_state_before() -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"]
    partition.ask(update(user_id, name="Jane Doe", command_id="u"))
    partition.ask(create(JANE, command_id="late"))
    before, after = partition.state, partition.restored()
    assert (after.users, after.emails) == (before.users, before.emails)
    assert (after.last_seq, after.last_time) == (before.last_seq, before.last_time)
    assert after.window.get("late") == before.window.get("late")


def test_one_id_for_two_commands_in_one_batch_does_not_change_the_first_answer() -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"]
    first, other = (update(user_id, age=age, command_id="u") for age in (35, 36))
    partition.ask(first)
    codes = [outcome["code"] for outcome in partition.batch(other, first, other)]
    assert codes == ["command_id_reused", None, "command_id_reused"]
