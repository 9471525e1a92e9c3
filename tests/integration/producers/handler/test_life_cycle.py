"""A user's life on a real broker: address changes, races for an address, deletion, crashes."""

import random
from collections.abc import Callable

from producers.client import (
    CommandClient,
    Outcome,
    change_email_command,
    delete_command,
    update_command,
)
from runtime.settings import Settings
from schemas.records import UserCommand
from schemas.topics import EVENTS
from tests.addresses import all_answers, assert_log_is_valid, create_when_free, holders
from tests.depth import depth
from tests.given import address_in, home_of
from tests.log import decided, read, send
from tests.processes import Rollbook, RunningProcess, eventually

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


def test_concurrent_commands_have_one_winner_and_leave_no_address_reserved(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Two want the same address, two each other's; one is deleted, one updated meanwhile."""
    rollbook.start_handler("a")
    rollbook.start_handler("b", wait=False).wait_for("restored partition", times=2)
    names = ("one", "two", "left", "right", "ending", "going")
    emails = {name: address_in(n % 4, name) for n, name in enumerate(names)}
    goals = {name: address_in((n + 1) % 4, f"{name}-goal") for n, name in enumerate(names)}
    with CommandClient(settings, timeout_seconds=60) as client:
        ids = {name: client.create_user(emails[name], name, 20).user_id for name in names}

        def change(name: str, email: str) -> UserCommand:
            return change_email_command(ids[name], email, None, name)

        prize = address_in(3, "prize")
        commands = [
            change("one", prize),
            change("two", prize),
            change("left", emails["right"]),
            change("right", emails["left"]),
            change("ending", goals["ending"]),
            delete_command(ids["ending"], None, "deletion"),
            change("going", goals["going"]),
            update_command(ids["going"], age=21, command_id="birthday"),
        ]
        send(settings, commands)
        found = all_answers(settings, len(names) + len(commands))
        codes = {
            command["command_id"]: found[command["command_id"]]["code"] for command in commands
        }
        assert sorted([codes.pop("one"), codes.pop("two")], key=str) == [
            None,
            "user_already_exists",
        ]
        assert codes.pop("ending") in (None, "user_not_found")
        swapped = "user_already_exists"
        assert codes == {
            **dict.fromkeys(("left", "right"), swapped),
            **dict.fromkeys(("deletion", "going", "birthday")),
        }
        held = holders(settings)
        assert held[goals["going"]] == ids["going"]
        assert held[prize] in (ids["one"], ids["two"])
        for email in {*emails.values(), *goals.values(), prize} - held.keys():
            create_when_free(client, email)
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


def test_a_repeated_command_is_answered_the_same_after_a_restart_and_a_hand_over(
    settings: Settings, rollbook: Rollbook
) -> None:
    """For every kind of command, refused ones as well; the id with another body is refused."""
    first = rollbook.start_handler("a")
    with CommandClient(settings, timeout_seconds=60) as client:
        jane = client.create_user(JANE, "Jane", 34, "create").user_id
        other = client.create_user(NEAR, "Other", 3, "other").user_id
        ask: dict[str, Callable[[str], Outcome]] = {
            "update": lambda i: client.update_user(jane, age=35, command_id=i),
            "near": lambda i: client.change_email(jane, "J@example.com", command_id=i),
            "far": lambda i: client.change_email(jane, FAR, command_id=i),
            "taken": lambda i: client.change_email(jane, NEAR, command_id=i),
            "delete": lambda i: client.delete_user(other, command_id=i),
            "erase": lambda i: client.erase_user(jane, command_id=i),
            "gone": lambda i: client.erase_user(f"{jane}"[:-6] + "ffffff", command_id=i),
        }
        answered = {command_id: again(command_id) for command_id, again in ask.items()}
        assert [o.code for o in answered.values() if not o.accepted] == [
            *("user_already_exists", "user_not_found"),
        ]
        # Sent twice before it is decided: both senders get an answer.
        third, moved = client.create_user(JANE, "Third", 20).user_id, address_in(AWAY, "third")
        send(settings, [change_email_command(third, moved, None, "twice")])
        assert brief(client.change_email(third, moved, command_id="twice"))[:2] == (
            "accepted",
            2,
        )
        events = len(list(read(settings, EVENTS)))
        for successor in "ab":
            first.kill()
            first = rollbook.start_handler(successor, wait=False)
            for command_id, again in ask.items():
                repeated = again(command_id)
                assert repeated.repeated
                assert repeated.as_fields() == answered[command_id].as_fields()
        for command_id in ("update", "far", "erase"):
            reused = client.update_user(jane, name="Else", command_id=command_id)
            assert reused.code == "command_id_reused"
        assert len(list(read(settings, EVENTS))) == events
