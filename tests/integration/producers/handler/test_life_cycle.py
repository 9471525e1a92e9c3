"""A user's life on a real broker: address changes, races for an address, deletion, crashes."""

import random

from producers.client import (
    CommandClient,
    Outcome,
    change_email_command,
    delete_command,
    update_command,
)
from runtime.settings import Settings
from schemas.records import UserCommand
from tests.depth import depth
from tests.observed.log import decided, send
from tests.samples.given import address_in, home_of
from tests.started.addresses import all_answers, assert_log_is_valid, create_when_free, holders
from tests.started.processes import Rollbook, RunningProcess, eventually

JANE = "jane@example.com"
HOME = home_of(JANE)
AWAY = (HOME + 1) % 4
NEAR, FAR = address_in(HOME), address_in(AWAY)
SEED = 20_261_124
# The handlers to kill in each round.
KILLED = depth(("a", "ab"), ("a", "b", "ab", "ab") * 3)


def brief(outcome: Outcome) -> tuple[str, int | None, str | None]:
    """Return status, version and code of an answer."""
    return outcome.status, outcome.version, outcome.code


def test_a_changed_address_is_free_for_new_users(
    settings: Settings, handler: RunningProcess
) -> None:
    """Changed within a partition and between two; the old address can be registered again."""
    with CommandClient(settings) as client:
        jane = client.create_user(JANE, "Jane", 34).user_id
        for version, email in enumerate((NEAR, FAR, JANE, FAR, JANE, "Jane@Example.com"), 2):
            answer = client.change_email(jane, email, expected_version=version - 1)
            assert brief(answer) == ("accepted", version, None)
        assert brief(client.change_email(jane, "Jane@example.com")) == ("accepted", 7, None)
        stale = client.change_email(jane, FAR, expected_version=3)
        assert brief(stale) == ("rejected", 7, "version_conflict")
        heirs = [create_when_free(client, email) for email in (NEAR, FAR)]
        assert len({jane, *heirs}) == 3
        for email, heir in zip((NEAR, FAR), heirs, strict=True):
            taken = client.change_email(jane, email)
            assert (taken.code, taken.user_id) == ("user_already_exists", heir)
        assert client.create_user(JANE, "Other", 3).code == "user_already_exists"
        assert brief(client.change_email(heirs[0], FAR.upper()))[2] == "user_already_exists"
    assert holders(settings) == {JANE: jane, NEAR: heirs[0], FAR: heirs[1]}
    assert_log_is_valid(settings)


def test_crashes_while_addresses_change_lose_no_answer_and_no_address(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Users take addresses from each other and are deleted, while handlers are killed.

    Each request is a kill point in `tests/unit/producers/handler/test_kills.py`.
    """
    chance = random.Random(SEED)
    # Small transactions, so that a kill interrupts most address changes.
    rollbook.overrides["ROLLBOOK_BATCH_COMMANDS"] = "3"
    handlers = {name: rollbook.start_handler(name, wait=False) for name in "ab"}
    emails = [address_in(n % 4, f"pool{n}x") for n in range(16)]
    with CommandClient(settings, timeout_seconds=60) as client:
        ids = [client.create_user(email, "Someone", 20).user_id for email in emails[:10]]
        sent = 0
        for turn in range(len(KILLED)):
            commands = [_any_command(chance, ids, emails, f"{turn}-{n}") for n in range(120)]
            some = len(ids) + sent + chance.randint(1, len(commands) // 2)
            send(settings, commands)
            sent += len(commands)
            eventually(lambda some=some: decided(settings) >= some)  # type: ignore[misc]
            for name in KILLED[turn]:
                handlers[name].kill()
                handlers[name] = rollbook.start_handler(name, wait=False)
        found = all_answers(settings, len(ids) + sent)
        assert {outcome["status"] for outcome in found.values()} == {"accepted", "rejected"}
        held = holders(settings)
        for email in emails:
            if email not in held:
                create_when_free(client, email)
            else:
                assert client.create_user(email, "Late", 3).user_id == held[email]
    assert_log_is_valid(settings)


def _any_command(
    chance: random.Random, ids: list[str | None], emails: list[str], command_id: str
) -> UserCommand:
    """Return a change of address most of the time, otherwise another command."""
    user_id = chance.choice(ids)
    kind = chance.random()
    if kind < 0.02:
        return delete_command(user_id, None, command_id)
    if kind < 0.2:
        return update_command(user_id, age=chance.randint(0, 99), command_id=command_id)
    return change_email_command(user_id, chance.choice(emails), None, command_id)
