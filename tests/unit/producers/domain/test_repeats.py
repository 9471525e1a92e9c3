"""The same command twice: within the window, after it, with another body, and at what price."""

import tracemalloc
from typing import Any
from uuid import UUID

import pytest

from producers.domain.outcome_window import OutcomeWindow
from schemas.records import CommandOutcome, UserCommand
from tests.depth import depth
from tests.samples.given import (
    NOW,
    Log,
    Partition,
    address_in,
    change_email,
    create,
    delete,
    erase,
    home_of,
    registered,
    update,
)

JANE = "jane@example.com"
MINUTE_MS = 60_000
WINDOW_MS = 5 * MINUTE_MS


def outcome(number: int, decided_at: int = NOW, **other: Any) -> CommandOutcome:
    """Return the acceptance of command `number`, whose id is a UUID."""
    accepted: CommandOutcome = {
        "command_id": str(UUID(int=number * 0x9E37_79B9_7F4A_7C15)),
        "command_offset": number,
        "decided_at": decided_at,
        "digest": number.to_bytes(8),
        "status": "accepted",
        "user_id": str(UUID(int=number + 1)),
        "version": 1,
        "seq": number,
        "code": None,
        "message": None,
        "repeated": False,
    }
    return accepted | other  # type: ignore[return-value]


def pass_the_window(partition: Partition) -> None:
    """Decide other commands until every earlier id is forgotten."""
    for number in range(1_300):
        partition.now += 1_000
        partition.ask(create("no address", command_id=f"bad{number}"))


@pytest.mark.parametrize(
    "other",
    [
        erase("ID", command_id="latest"),
        delete("ID", command_id="latest"),
        update("ID", age=36, command_id="latest"),
        update("ID", name="Joan", age=35, command_id="latest"),
        update("ID", age=35, expected_version=7, command_id="latest"),
        change_email("ID", "other@example.com", command_id="latest"),
    ],
)
@pytest.mark.parametrize("is_forgotten", [False, True])
def test_the_id_of_a_users_latest_change_takes_no_other_body(
    other: UserCommand, *, is_forgotten: bool
) -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"]
    partition.ask(update(user_id, age=35, command_id="latest"))
    if is_forgotten:
        pass_the_window(partition)
    answer = partition.ask({**other, "user_id": user_id})
    assert (answer["status"], answer["code"]) == ("rejected", "command_id_reused")
    assert len(partition.events) == 2


@pytest.mark.parametrize("expected", [None, 1])
def test_a_users_latest_change_is_not_repeated_after_the_window(expected: int | None) -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"]
    command = update(user_id, age=35, expected_version=expected, command_id="latest")
    partition.ask(command)
    pass_the_window(partition)
    again = partition.ask(command)
    assert (again["status"], again["version"], again["repeated"]) == ("accepted", 2, True)
    assert len(partition.events) == 2


@pytest.mark.parametrize("ending", [delete, erase])
def test_an_ending_is_not_repeated_as_the_other_one_after_the_window(ending: Any) -> None:
    partition = registered()
    user_id = partition.events[0]["user_id"]
    partition.ask(ending(user_id, command_id="end"))
    pass_the_window(partition)
    assert partition.ask(ending(user_id, command_id="end"))["repeated"]
    other = erase if ending is delete else delete
    assert partition.ask(other(user_id, command_id="end"))["code"] == "command_id_reused"
    assert len(partition.events) == 2


@pytest.mark.parametrize("body", [("Jane", 34), ("John", 34), ("Jane", 35)])
def test_a_creation_after_the_window_is_compared_with_the_user(body: tuple[str, int]) -> None:
    """The same one is a repeat; another one under its id is refused."""
    partition = registered()
    pass_the_window(partition)
    again = partition.ask(create(JANE, *body, command_id="create"))
    same = body == ("Jane", 34)
    assert (again["status"], again["code"], again["repeated"]) == (
        ("accepted", None, True) if same else ("rejected", "command_id_reused", False)
    )
    assert len(partition.events) == 1


def test_a_creation_after_the_window_names_the_user_that_changed_since() -> None:
    """What it asked for can no longer be compared, so it is decided like any other creation."""
    partition = registered()
    user_id = partition.events[0]["user_id"]
    partition.ask(update(user_id, age=35))
    pass_the_window(partition)
    again = partition.ask(create(JANE, "Jane", 34, command_id="create"))
    assert (again["code"], again["user_id"]) == ("user_already_exists", user_id)


@pytest.mark.parametrize("other", [False, True])
def test_a_change_to_an_address_elsewhere_is_compared_when_its_grant_arrives(
    *, other: bool
) -> None:
    """Sent twice, decided, and forgotten before the second grant arrives."""
    log = Log()
    home = home_of(JANE)
    user_id = log.create(JANE)
    away = (home + 1) % 4
    log.send(change_email(user_id, address_in(away), command_id="same"))
    second = address_in(away, "other") if other else address_in(away)
    log.send(change_email(user_id, second, command_id="same"))
    log.settle()
    answers = [o for o in log.partitions[home].outcomes if o["command_id"] == "same"]
    assert answers[0]["status"] == "accepted"
    assert answers[1]["code"] == ("command_id_reused" if other else None)


def test_an_id_is_remembered_for_five_minutes_at_any_rate() -> None:
    """By time or by number, whichever remembers more; a clock that jumps counts as a minute."""
    window = OutcomeWindow(1_000, WINDOW_MS)
    first = outcome(0)
    window.add(first)
    for number in range(1, 30_000):
        window.add(outcome(number, NOW + number * 10))
    assert window.get(first["command_id"])  # 300 s and 30,000 commands later
    window.add(outcome(30_000, NOW + 10 * 365 * 86_400_000))
    assert window.get(outcome(25_000)["command_id"])
    assert window.get(outcome(29_500)["command_id"])


def test_few_commands_are_remembered_for_longer_than_the_time() -> None:
    window = OutcomeWindow(1_000, WINDOW_MS)
    for number in range(900):
        window.add(outcome(number, NOW + number * MINUTE_MS))
    assert window.get(outcome(0)["command_id"])
    for number in range(900, 2_600):
        window.add(outcome(number, NOW + number * MINUTE_MS))
    assert window.get(outcome(0)["command_id"]) is None
    assert len(window) < 2_000


@pytest.mark.parametrize(
    "one",
    [
        outcome(5),
        outcome(5, version=2**31, seq=2**47, command_offset=2**47),
        outcome(5, command_id="x"),
        outcome(5, user_id=None, version=None, status="rejected", code="bad", message="why"),
        outcome(5, status="rejected", code="user_already_exists", message="held", version=None),
    ],
)
def test_the_remembered_answer_is_the_first_one(one: CommandOutcome) -> None:
    window = OutcomeWindow(1_000, WINDOW_MS)
    window.add(one)
    assert window.get(one["command_id"]) == one | {"decided_at": 0}
    assert window.get("unknown") is None


def test_reasons_are_bounded() -> None:
    """Beyond a thousand texts an answer keeps its code."""
    window = OutcomeWindow(10_000, WINDOW_MS)
    for number in range(2_000):
        refused = outcome(number, status="rejected", code="version_conflict")
        window.add({**refused, "message": f"not {number}"})
    last = window.get(outcome(1_999)["command_id"])
    assert last is not None
    assert last["code"] == "version_conflict"
    assert last["message"] == "the first answer's reason is no longer known"


def test_an_id_takes_at_most_64_bytes() -> None:
    """While the table grows, and once as many ids are forgotten as are added.

    Each process hashes texts differently, so the buckets of a small table may be fuller by chance.
    """
    count = depth(36_000, 45_000)
    window = OutcomeWindow(count // 9, count * 2 // 9)
    outcomes = [outcome(number, NOW + number) for number in range(count)]
    sizes = []
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        for number, one in enumerate(outcomes):
            window.add(one)
            if number in {count * 2 // 9, count - 1}:
                taken, _peak = tracemalloc.get_traced_memory()
                sizes.append((taken - before) / len(window))
    finally:
        tracemalloc.stop()
    assert len(window) < count / 3
    assert max(sizes) <= 64


def test_a_restore_that_begins_after_the_first_answer_gives_the_same_answers() -> None:
    """A repeat keeps the answer, and a refusal of another body never becomes the answer."""
    partition = registered()
    user_id = partition.events[0]["user_id"]
    first, other = (update(user_id, age=age, command_id="u") for age in (35, 36))
    partition.batch(first, update(user_id, age=40, command_id="v"), first, other)
    for begin in (1, 2, 3):
        restored = OutcomeWindow(1_000, WINDOW_MS)
        for one in partition.outcomes[begin:]:
            restored.add(one)
        answer = restored.get("u")
        assert answer is not None
        assert (answer["status"], answer["version"]) == ("accepted", 2)
