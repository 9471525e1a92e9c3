"""Who holds an address at each step, and what remains after a deletion or erasure."""

import pytest

from schemas.records import UserCommand
from tests.given import (
    NOW,
    PARTITIONS,
    Log,
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
HOME = home_of(JANE)
AWAY = (HOME + 1) % PARTITIONS
NEW = address_in(AWAY)


def moved() -> tuple[Log, str]:
    """Return a log on which Jane took an address of another partition, and her id."""
    log = Log()
    user_id = log.create(JANE)
    assert log.ask(change_email(user_id, NEW, command_id="move"))["status"] == "accepted"
    return log, user_id


def test_an_address_held_from_another_partition_is_refused_and_the_holder_named() -> None:
    log, user_id = moved()
    outcome = log.ask(create(NEW, command_id="late"))
    assert (outcome["code"], outcome["user_id"]) == ("user_already_exists", user_id)


def test_a_user_stays_where_it_was_registered() -> None:
    log, user_id = moved()
    outcome = log.ask(update(user_id, age=50))
    assert (outcome["status"], outcome["version"]) == ("accepted", 3)
    assert not log.partitions[AWAY].events


def test_an_address_left_in_another_partition_is_free_eventually() -> None:
    """It is taken until the message arrives, never held by two users, and free afterwards."""
    log, user_id = moved()
    log.send(change_email(user_id, JANE, command_id="back"))
    assert log.email_of(user_id) == JANE
    log.send(create(NEW, command_id="early"))
    early = log.outcome("early")
    assert early is not None
    assert early["code"] == "user_already_exists"
    log.settle()
    assert log.ask(create(NEW, command_id="late"))["status"] == "accepted"


@pytest.mark.parametrize("end", [delete, erase])
def test_a_deletion_or_erasure_frees_the_address_at_home_and_away(end: object) -> None:
    assert callable(end)
    for log, user_id in (moved(), (given := Log(), given.create(NEW))):
        command: UserCommand = end(user_id)
        log.ask(command)
        assert log.holder_of(NEW) is None
        assert log.ask(create(NEW, command_id="next"))["status"] == "accepted"


def test_a_deletion_keeps_the_history() -> None:
    partition = registered(JANE)
    partition.ask(delete(partition.events[0]["user_id"]))
    assert partition.erased_history == []


@pytest.mark.parametrize(
    ("email", "expected", "code"),
    [
        (NEW, 2, "version_conflict"),
        (address_in(HOME), 2, "version_conflict"),
        ("no address", None, "invalid_command"),
        (NEW, 0, "invalid_command"),
    ],
)
def test_a_change_that_breaks_a_rule_sends_no_message(
    email: str, expected: int | None, code: str
) -> None:
    partition = registered(JANE)
    outcome = partition.ask(change_email(partition.events[0]["user_id"], email, expected))
    assert outcome["code"] == code
    assert not partition.messages


def test_two_changes_of_a_user_to_the_same_address_make_one_change() -> None:
    """Whatever the answer to the second, the user holds the address once and can leave it again."""
    log = Log()
    user_id = log.create(JANE)
    for command_id in ("one", "two"):
        log.send(change_email(user_id, NEW, command_id=command_id))
    log.settle()
    assert log.email_of(user_id) == NEW
    assert len(log.partitions[HOME].events) == 2
    assert log.ask(change_email(user_id, JANE, command_id="back"))["status"] == "accepted"
    assert log.holder_of(NEW) is None


def test_an_event_is_never_stamped_before_the_message_that_caused_it() -> None:
    """The clock of the other partition's handler is a minute ahead."""
    log = Log()
    user_id = log.create(JANE)
    log.partitions[AWAY].now = NOW + 60_000
    log.ask(change_email(user_id, NEW))
    assert log.partitions[HOME].events[-1]["occurred_at"] == NOW + 60_000
