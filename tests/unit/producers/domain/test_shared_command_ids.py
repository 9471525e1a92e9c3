"""Address changes under a command id that is used twice, and messages that no handler wrote."""

from typing import Any

import pytest

from producers.domain.address_change import apply_message
from schemas.errors import Poisoned
from schemas.records import AddressMessage
from tests.samples.given import PARTITIONS, Log, address_in, change_email, home_of

JANE = "jane@example.com"
HOME = home_of(JANE)
AWAY, THIRD = (HOME + 1) % PARTITIONS, (HOME + 2) % PARTITIONS
NEW, NEWER = address_in(AWAY), address_in(AWAY, "newer")


def codes(log: Log) -> list[str | None]:
    """Return the codes of all answers to the command `same`."""
    return [o["code"] for p in log.partitions for o in p.outcomes if o["command_id"] == "same"]


@pytest.mark.parametrize("other_home", [HOME, THIRD])
@pytest.mark.parametrize("at_once", [True, False])
def test_two_users_under_one_command_id_never_get_one_address(
    other_home: int, *, at_once: bool
) -> None:
    """The second is refused, whether the first is in transit or long done."""
    log = Log()
    one, two = log.create(JANE), log.create(address_in(other_home, "two"))
    log.send(change_email(one, NEW, command_id="same"))
    if not at_once:
        log.settle()
    log.send(change_email(two, NEW, command_id="same"))
    log.settle()
    assert log.email_of(one) == NEW
    assert log.email_of(two) != NEW
    assert log.holder_of(NEW) == one
    assert len(codes(log)) == 2


@pytest.mark.parametrize("other_home", [HOME, THIRD])
def test_two_claims_under_one_command_id_both_survive_a_restore(other_home: int) -> None:
    """Compaction and restores keep one record of a key: each claim has its own."""
    log = Log()
    one, two = log.create(JANE), log.create(address_in(other_home, "two"))
    log.ask(change_email(one, NEW, command_id="same"))
    log.send(change_email(two, NEWER, command_id="same"))
    log.settle()
    log.restart(AWAY)
    log.settle()
    for email in (NEW, NEWER):
        holder = next((user for user in (one, two) if log.email_of(user) == email), None)
        assert log.holder_of(email) == holder
    assert log.email_of(one) == NEW


@pytest.mark.parametrize("second", [NEWER, address_in(HOME, "near"), address_in(THIRD)])
def test_another_address_under_the_same_id_is_refused_while_the_first_is_in_transit(
    second: str,
) -> None:
    """Both senders are answered, one address is taken and the other free, also after restores."""
    log = Log()
    user_id = log.create(JANE)
    log.send(change_email(user_id, NEW, command_id="same"))
    log.send(change_email(user_id, second, command_id="same"))
    log.settle()
    assert sorted(codes(log), key=str) == [None, "command_id_reused"]
    assert log.email_of(user_id) in (NEW, second)
    for number in range(PARTITIONS):
        log.restart(number)
    log.settle()
    for email in (JANE, NEW, second):
        assert log.holder_of(email) == (user_id if log.email_of(user_id) == email else None)


@pytest.mark.parametrize(
    "forged",
    [
        {"kind": "nonsense"},
        {"kind": ""},
        {"email_key": None},
        {"user_id": ""},
        {"user_id": "x"},
        {"user_id": "018bcfe5-6800-7abc-8000-00000000zzzz"},
        {"claim_id": ""},
        {"claim_id": "x" * 65},
        {"email": None},
        {"command_offset": None},
        {"digest": None},
        {"kind": "granted"},
        {"kind": "refused"},
        {"email_key": JANE},
    ],
)
def test_a_message_that_no_handler_wrote_is_poisoned_and_changes_nothing(
    forged: dict[str, Any],
) -> None:
    log = Log()
    log.send(change_email(log.create(JANE), NEW))
    [message] = log.in_transit[HOME, AWAY]
    overlay = log.partitions[AWAY].overlay()
    strange: Any = {**message, **forged}
    with pytest.raises(Poisoned):
        apply_message(overlay, strange)
    assert [overlay.events, overlay.claims, overlay.outcomes, overlay.messages] == [[], [], [], []]


def test_a_refusal_without_a_holder_is_poisoned() -> None:
    """It would be decided as if the address were free."""
    log = Log()
    log.send(change_email(log.create(JANE), NEW))
    refused: AddressMessage = {**log.in_transit[HOME, AWAY][0], "kind": "refused"}
    with pytest.raises(Poisoned):
        apply_message(log.partitions[HOME].overlay(), refused)
