"""Changing an address, also between partitions; erasing; restores. See `test_aggregate` too."""

import pytest

from producers.domain.overlay import Overlay
from producers.domain.state import HELD, RESERVED
from schemas.records import AddressMessage, UserCommand
from tests.samples import given
from tests.samples.given import (
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


def test_an_address_of_the_same_partition_changes_at_once_and_frees_the_old_one() -> None:
    partition, new = registered(JANE), address_in(HOME)
    user_id = partition.events[0]["user_id"]
    outcome = partition.ask(change_email(user_id, new))
    assert (outcome["status"], outcome["version"]) == ("accepted", 2)
    assert partition.events[1]["type"] == "UserEmailChanged"
    assert partition.events[1]["changes"] == [{"field": "email", "before": JANE, "after": new}]
    assert partition.ask(create(JANE, command_id="again"))["status"] == "accepted"
    assert partition.ask(create(new, command_id="taken"))["code"] == "user_already_exists"


@pytest.mark.parametrize("number", range(PARTITIONS))
def test_an_address_moves_to_any_partition_and_back(number: int) -> None:
    log, new = Log(), address_in(number)
    user_id = log.create(JANE)
    for turn, email in enumerate((new, JANE, new, JANE)):
        outcome = log.ask(change_email(user_id, email, command_id=f"turn{turn}"))
        assert (outcome["status"], outcome["version"]) == ("accepted", turn + 2)
        assert log.email_of(user_id) == email
        assert log.holder_of(email) == user_id
        other = JANE if email == new else new
        assert log.holder_of(other) is None


def test_an_address_that_is_held_elsewhere_is_refused_and_the_holder_named() -> None:
    log = Log()
    user_id, holder_id = log.create(JANE), log.create(NEW)
    outcome = log.ask(change_email(user_id, NEW))
    assert (outcome["code"], outcome["user_id"]) == ("user_already_exists", holder_id)
    assert (outcome["version"], log.email_of(user_id)) == (1, JANE)


def test_a_reserved_address_is_not_the_users_yet_and_nobody_elses() -> None:
    """Until the home partition has decided, the user still holds the old address."""
    log = Log()
    user_id = log.create(JANE)
    log.send(change_email(user_id, NEW, command_id="first"))
    log.deliver(HOME, AWAY)
    assert (log.email_of(user_id), log.holder_of(JANE)) == (JANE, user_id)
    log.send(create(NEW, command_id="late"))
    late = log.outcome("late")
    assert (late["code"], late["user_id"]) == ("user_already_exists", user_id)
    log.settle()
    assert log.email_of(user_id) == NEW


def test_of_two_users_racing_for_one_address_only_one_succeeds() -> None:
    log = Log()
    one, two = log.create(JANE), log.create(address_in((HOME + 2) % PARTITIONS, "two"))
    log.send(change_email(one, NEW, command_id="one"))
    log.send(change_email(two, NEW, command_id="two"))
    log.settle()
    codes = [log.outcome(name)["code"] for name in ("one", "two")]
    assert sorted(codes, key=str) == [None, "user_already_exists"]


def test_swapping_two_addresses_is_refused_twice() -> None:
    log, other = Log(), address_in(AWAY)
    one, two = log.create(JANE), log.create(other)
    log.send(change_email(one, other, command_id="one"))
    log.send(change_email(two, JANE, command_id="two"))
    log.settle()
    for name in ("one", "two"):
        assert log.outcome(name)["code"] == "user_already_exists"


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [
        (delete, "user_not_found"),
        (erase, "user_not_found"),
        (lambda user_id: update(user_id, age=1), "version_conflict"),
    ],
)
def test_a_command_decided_meanwhile_wins_and_the_reservation_is_released(
    meanwhile: object, code: str
) -> None:
    log = Log()
    user_id = log.create(JANE)
    log.send(change_email(user_id, NEW, expected_version=1, command_id="change"))
    log.deliver(HOME, AWAY)
    assert callable(meanwhile)
    command: UserCommand = meanwhile(user_id)
    log.send(command)
    log.settle()
    assert log.outcome("change")["code"] == code
    assert log.holder_of(NEW) is None


def test_a_change_repeated_in_transit_is_one_change() -> None:
    log = Log()
    user_id = log.create(JANE)
    for _ in range(3):
        log.send(change_email(user_id, NEW, command_id="change"))
    log.settle()
    home = log.partitions[HOME]
    assert [event["version"] for event in home.events] == [1, 2]
    answers = [o for o in home.outcomes if o["command_id"] == "change"]
    assert [(o["command_offset"], o["version"], o["repeated"]) for o in answers] == [
        (1, 2, False),
        (2, 2, True),
        (3, 2, True),
    ]
    assert log.partitions[AWAY].state.claims[NEW][0]["status"] == HELD


def test_a_grant_that_was_not_answered_is_sent_again_after_a_restore() -> None:
    log = Log()
    user_id = log.create(JANE)
    log.send(change_email(user_id, NEW, command_id="change"))
    log.deliver(HOME, AWAY)
    assert log.partitions[AWAY].state.claims[NEW][0]["status"] == RESERVED
    log.restart(AWAY)
    log.restart(AWAY)
    log.settle()
    assert log.email_of(user_id) == log.partitions[HOME].events[-1]["user"]["email"] == NEW  # type: ignore[index]
    assert len(log.partitions[HOME].events) == 2
    assert log.partitions[AWAY].state.claims[NEW][0]["status"] == HELD


def late_grant() -> tuple[Log, str]:
    """A user changed twice, the window forgot the first change, and its old grant arrived again."""
    log = Log()
    user_id = log.create(JANE)
    log.send(change_email(user_id, NEW, command_id="change"))
    log.deliver(HOME, AWAY)
    log.restart(AWAY)
    log.deliver(AWAY, HOME)
    log.send(change_email(user_id, JANE, command_id="back"))
    for n in range(1_300):
        log.partitions[HOME].now += 1_000
        log.send(update(user_id, age=n % 100, command_id=f"u{n}"))
    log.settle()
    return log, user_id


def test_a_grant_sent_again_late_never_takes_an_address_back() -> None:
    log, user_id = late_grant()
    assert log.email_of(user_id) == JANE
    assert log.holder_of(NEW) is None


class DecidesAgain(Overlay):
    """Sends an open grant again as if it were new."""

    def send(self, shard: int, message: AddressMessage) -> None:
        super().send(shard, {**message, "again": False})


def test_the_check_detects_a_grant_that_is_decided_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: here the user has an address that is free for others."""
    monkeypatch.setattr(given, "Overlay", DecidesAgain)
    log, user_id = late_grant()
    assert log.email_of(user_id) == NEW
    assert log.holder_of(NEW) is None


def test_erasing_leaves_tombstones_for_the_past_and_a_marker_without_personal_data() -> None:
    partition = registered(JANE)
    user_id = partition.events[0]["user_id"]
    partition.ask(update(user_id, age=35))
    outcome = partition.ask(erase(user_id))
    assert (outcome["status"], outcome["version"]) == ("accepted", 3)
    event = partition.events[-1]
    assert (event["type"], event["changes"], event["user"]) == ("UserErased", [], None)
    assert partition.erased_history == [f"{user_id}:1", f"{user_id}:2"]


def test_a_restore_includes_claims_and_deleted_users() -> None:
    log = Log()
    user_id, gone = log.create(JANE), log.create(address_in(HOME, "gone"))
    log.ask(change_email(user_id, NEW))
    log.ask(erase(gone))
    for partition in log.partitions:
        restored = partition.restored()
        assert restored.users == partition.state.users
        assert restored.emails == partition.state.emails
        assert restored.claims == partition.state.claims


def test_an_address_is_taken_until_its_last_grant_is_answered() -> None:
    """Sent twice, used once and left again: it stays taken while the second grant is open."""
    log = Log()
    user_id = log.create(JANE)
    for _ in range(2):
        log.send(change_email(user_id, NEW, command_id="change"))
    for _ in range(2):
        log.deliver(HOME, AWAY)
    log.deliver(AWAY, HOME)
    log.send(change_email(user_id, JANE, command_id="back"))
    while (HOME, AWAY) in log.in_transit:
        log.deliver(HOME, AWAY)
    other = log.partitions[AWAY].ask(create(NEW, command_id="other"))
    assert (other["code"], other["user_id"]) == ("user_already_exists", user_id)
    for n in range(1_300):
        log.partitions[HOME].now += 1_000
        log.partitions[HOME].ask(update(user_id, age=n % 100, command_id=f"u{n}"))
    log.settle()
    # Its first answer is forgotten, so the second sending is a separate change.
    assert log.email_of(user_id) == NEW
    assert log.holder_of(NEW) == user_id


def moved() -> tuple[Log, str]:
    """Return a log on which Jane took an address of another partition, and her id."""
    log = Log()
    user_id = log.create(JANE)
    assert log.ask(change_email(user_id, NEW, command_id="move"))["status"] == "accepted"
    return log, user_id


def test_an_address_left_in_another_partition_is_free_eventually() -> None:
    """It is taken until the message arrives, never held by two users, and free afterwards."""
    log, user_id = moved()
    log.send(change_email(user_id, JANE, command_id="back"))
    assert log.email_of(user_id) == JANE
    log.send(create(NEW, command_id="early"))
    assert log.outcome("early")["code"] == "user_already_exists"
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
