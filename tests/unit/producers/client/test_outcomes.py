"""Commands as the client builds them, and outcomes as callers see them, without servers."""

import time
from uuid import UUID

import pytest

from producers.client.build import (
    change_email_command,
    command_partition,
    create_command,
    delete_command,
    erase_command,
    new_command_id,
    update_command,
)
from producers.client.lookup import _sent_after_ms
from producers.client.outcomes import Outcome, outcome_of
from schemas.errors import Rejected
from schemas.identity import email_shard, new_user_id, partition_of
from schemas.records import CommandOutcome

USER_ID = new_user_id(4095, 1_700_000_000_000, 7)
OUTCOME: CommandOutcome = {
    "command_id": "c-1",
    "command_offset": 5,
    "decided_at": 1,
    "digest": b"12345678",
    "status": "accepted",
    "user_id": USER_ID,
    "version": 1,
    "seq": 9,
    "code": None,
    "message": None,
    "repeated": False,
}


def test_a_creation_goes_to_the_partition_of_its_address() -> None:
    """With cleaned fields; the case of the address makes no difference."""
    command = create_command("Jane.Doe@Example.com", "  Jane ", 34, "c-1")
    assert (command["command_id"], command.get("name")) == ("c-1", "Jane")
    shard = email_shard("jane.doe@example.com")
    assert command_partition(command, 8) == partition_of(shard, 8)


def test_every_later_command_goes_to_the_partition_of_the_user_id() -> None:
    """The last shard belongs to the last partition, wherever a new address belongs."""
    commands = {
        "UpdateUser": update_command(USER_ID.upper(), None, 3, 2, "c-1"),
        "ChangeEmail": change_email_command(USER_ID.upper(), "Jane@Example.com", 2, "c-1"),
        "DeleteUser": delete_command(USER_ID.upper(), 2, "c-1"),
        "EraseUser": erase_command(USER_ID.upper(), 2, "c-1"),
    }
    for kind, command in commands.items():
        assert (command["kind"], command["command_id"]) == (kind, "c-1")
        assert (command.get("user_id"), command.get("expected_version")) == (USER_ID, 2)
        assert command_partition(command, 8) == 7
    assert commands["ChangeEmail"].get("email") == "Jane@example.com"


def test_an_update_of_nothing_is_rejected_before_sending() -> None:
    """Other fields that break a rule are in the table of bad input of the commands."""
    with pytest.raises(Rejected) as raised:
        update_command(USER_ID)
    assert raised.value.code == "invalid_command"


def test_command_ids_are_uuids_with_their_time() -> None:
    """So `commands show` reads little of the log; for other ids it reads all of it."""
    made_ms = time.time() * 1000
    command_id = new_command_id()
    assert UUID(command_id).version == 7
    assert abs(_sent_after_ms(command_id) + 3_600_000 - made_ms) < 1000
    assert _sent_after_ms("import-0123") == 0
    assert _sent_after_ms("8c5a8c8e-52a1-4d2b-9f4b-6f2a4a3a4c55") == 0
    assert len({new_command_id() for _ in range(1000)}) == 1000


def test_an_outcome_prints_the_fields_of_the_contract_in_order() -> None:
    """`partition:seq` is the token that queries wait for."""
    fields = outcome_of(OUTCOME, 3).as_fields()
    assert list(fields) == [
        "command_id",
        "status",
        "user_id",
        "version",
        "code",
        "message",
        "token",
    ]
    assert fields["token"] == "3:9"


def test_a_rejection_has_a_next_step_if_its_ids_are_known() -> None:
    """A next step never has an empty placeholder."""
    taken = Outcome("c", "rejected", USER_ID, None, "user_already_exists", "taken", None)
    assert taken.rejection().next_step == f"`rollbook users get {USER_ID}` shows who holds it"
    unknown_holder = Outcome("c", "rejected", None, None, "user_already_exists", "taken", None)
    assert not unknown_holder.rejection().next_step
    assert not Outcome("c", "rejected", None, None, "new_code", "no", None).rejection().next_step
