"""A backup that is taken under load restores a registry that continues, on a log of its own."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from producers.client import CommandClient, change_email_command, update_command
from projectors.catalog import OURS
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.codec import RecordCodec, schema_text
from schemas.records import UserCommand
from schemas.topics import COMMANDS, EVENTS, HISTORY, OUTCOMES
from scripts.backup.directory import BackupDirectory
from scripts.backup.files import read_records
from scripts.stack.local import LocalStack
from scripts.verify.run import run_checks
from tests.addresses import assert_log_is_valid, create_when_free, holders
from tests.conftest import own_registry
from tests.depth import depth
from tests.given import address_in
from tests.log import decided, put, read, send
from tests.processes import Rollbook, RunningProcess, eventually

pytestmark = pytest.mark.timeout(300)

COMMANDS_SENT = depth(400, 20_000)


@pytest.fixture
def target(stack: LocalStack, tmp_path: Path) -> Iterator[Rollbook]:
    """Another registry, without topics, to restore into; its processes end with the test."""
    folder = tmp_path / "target"
    folder.mkdir()
    with own_registry(stack, folder) as settings:
        rollbook = Rollbook(settings, stack.config_file, folder)
        try:
            yield rollbook
        finally:
            rollbook.stop_all()
            print(rollbook.last_output())  # noqa: T201 - pytest shows it if the test failed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def any_command(chance: random.Random, ids: list[Any], emails: list[str], n: int) -> UserCommand:
    """Return a change of address most of the time, else an update."""
    user_id = chance.choice(ids)
    if chance.random() < 0.3:
        return update_command(user_id, age=chance.randint(0, 99), command_id=f"c{n}")
    return change_email_command(user_id, chance.choice(emails), None, f"c{n}")


def in_backup(folder: Path) -> tuple[set[str], set[str]]:
    """Return the ids of the commands that the last part has an answer to, and the undecided."""
    last = BackupDirectory(folder).parts()[-1]
    found = [
        {one["record"]["command_id"] for one in read_records(last.path / name, topic)}
        for name, topic in (("outcomes.avro", OUTCOMES), ("commands.avro", COMMANDS))
    ]
    return found[0], found[1]


def test_a_backup_under_load_restores_a_registry_that_continues(
    rollbook: Rollbook, target: Rollbook, folder: Path
) -> None:
    """While users take addresses from each other, in transactions of three commands.

    After the restore every invariant holds, every command is answered once, read models are built,
    and addresses change as before.
    """
    chance = random.Random(20_261_128)
    rollbook.overrides["ROLLBOOK_BATCH_COMMANDS"] = "3"
    handler = rollbook.start_handler()
    settings = rollbook.settings
    emails = [address_in(n % 4, f"pool{n}x") for n in range(16)]
    with CommandClient(settings, timeout_seconds=60) as client:
        ids = [client.create_user(email, "Someone", 20).user_id for email in emails[:10]]
    rollbook.json("backup", str(folder))
    sent = [any_command(chance, ids, emails, n) for n in range(COMMANDS_SENT)]
    send(settings, sent)
    eventually(lambda: decided(settings) > len(ids) + 20)
    second = rollbook.json("backup", str(folder))
    handler.kill()
    answered, waiting = in_backup(folder)
    assert second["undecided_commands"] == len(waiting) > 0
    assert not answered & waiting
    assert {one["command_id"] for one in sent} <= answered | waiting

    done = target.json("restore", str(folder))
    assert (done["parts"], done["users"], done["undecided_commands"]) == (2, 10, len(waiting))
    assert_log_is_valid(target.settings)
    assert_continues(target, ids, emails, answered | waiting)


def assert_continues(
    target: Rollbook, ids: list[Any], emails: list[str], commands: set[str]
) -> None:
    """Handler and projectors start; every invariant holds; addresses change."""
    settings = target.settings
    target.start_handler()
    for name in OURS:
        target.start_projector(name)
    eventually(lambda: {o["command_id"] for _, o in read(settings, OUTCOMES)} >= commands, 120)
    with CommandClient(settings, timeout_seconds=60) as client:
        held = holders(settings)
        for email in emails:
            if email not in held:
                create_when_free(client, email)
            else:
                assert client.create_user(email, "Late", 3).user_id == held[email]
        assert client.change_email(ids[0], address_in(1, "free")).accepted
    broken = [check for check in run_checks(settings, timeout_seconds=60) if not check.holds]
    assert broken == []


def test_answers_and_tokens_are_those_from_before(
    rollbook: Rollbook, handler: RunningProcess, target: Rollbook, folder: Path
) -> None:
    """A command that is repeated gets its first answer; the next event has the next seq."""
    with CommandClient(rollbook.settings) as client:
        created = client.create_user("jane@example.com", "Jane", 34, command_id="first")
        update = update_command(created.user_id, age=35, command_id="second")
        updated, again = client.send(update), client.create_user("jane@example.com", "Other", 3)
    rollbook.json("backup", str(folder))
    target.json("restore", str(folder))
    target.start_handler()
    with CommandClient(target.settings) as client:
        repeated = client.send(update)
        assert (repeated.token, repeated.version) == (updated.token, updated.version)
        assert client.create_user("jane@example.com", "Other", 3).user_id == again.user_id
        seq = int(str(updated.token).split(":")[1])
        later = client.send(update_command(created.user_id, age=36, command_id="third"))
        assert str(later.token).endswith(f":{seq + 1}")
    assert_log_is_valid(target.settings)


def test_erased_users_do_not_come_back(
    rollbook: Rollbook, handler: RunningProcess, target: Rollbook, folder: Path, tmp_path: Path
) -> None:
    """Neither one who was erased between two parts, nor one whose id is given."""
    with CommandClient(rollbook.settings) as client:
        ids = [client.create_user(f"user{n}@example.com", "Jane", 34).user_id for n in range(4)]
        client.change_email(ids[1], address_in(3, "moved"))
        rollbook.json("backup", str(folder))
        rollbook.json("users", "erase", str(ids[0]), "--yes")
        rollbook.json("backup", str(folder))
    erased = tmp_path / "erased.txt"
    erased.write_text(f"{ids[1]}\n", encoding="utf-8")
    done = target.json("restore", str(folder), "--erasures", str(erased))
    assert (done["erased"], done["claims"]) == (1, 0)
    events = [event for _, event in read(target.settings, HISTORY)]
    assert sorted(e["type"] for e in events if e["user_id"] in ids[:2]) == ["UserErased"] * 2
    assert {event["user_id"] for event in events if event["user"]} == set(ids[2:])
    target.start_handler()
    with CommandClient(target.settings) as client:
        assert client.create_user("user1@example.com", "Joe", 3).user_id not in ids
        assert client.send(update_command(ids[1], age=3)).code == "user_not_found"
    assert_log_is_valid(target.settings)


def test_ids_of_schemas_are_rewritten(
    settings: Settings, rollbook: Rollbook, target: Rollbook, folder: Path
) -> None:
    """The log has records with another id than the one that the new registry gives."""
    registry = Registry(settings)
    ours: RecordCodec[Any] = registry.codec(HISTORY.schema)
    _, other_id = registry._register(
        schema_text(HISTORY.schema).replace('"doc": "What happened', '"doc": "Once: what happened')
    )
    assert other_id != ours.schema_id
    encode = RecordCodec[Any](HISTORY.schema, other_id, registry.schema_by_id).encode
    handler = rollbook.start_handler()
    with CommandClient(settings) as client:
        client.create_user("jane@example.com", "Jane", 34)
    handler.stop()
    [(partition, event)] = list(read(settings, HISTORY))
    event |= {"event_id": f"{event['user_id']}:2", "version": 2, "seq": 2, "type": "UserUpdated"}
    put(settings, HISTORY, (event["event_id"], encode(event), partition))
    put(settings, EVENTS, (event["user_id"], encode(event), partition))
    rollbook.json("backup", str(folder))
    target.json("restore", str(folder))
    new = Registry(target.settings).codec(HISTORY.schema)
    new._writer_schema = None  # type: ignore[assignment] - any other id fails
    for topic, count in ((HISTORY, 2), (EVENTS, 1)):
        assert sum(1 for _ in read(target.settings, topic, skip_foreign=True)) == count


def test_a_restore_refuses_what_it_would_damage(
    rollbook: Rollbook, handler: RunningProcess, target: Rollbook, folder: Path
) -> None:
    """A registry that is not empty, a damaged file, other partitions: nothing is written."""
    rollbook.json("users", "create", "--email", "a@example.com", "--name", "A", "--age", "1")
    assert target.json("restore", str(rollbook.directory), code=2)["code"] == "no_backup"
    rollbook.json("backup", str(folder))
    refused = rollbook.json("restore", str(folder), code=2)
    assert refused["code"] == "not_empty"
    target.overrides["ROLLBOOK_PARTITIONS"] = "3"
    assert target.json("restore", str(folder), code=2)["code"] == "other_partitions"
    del target.overrides["ROLLBOOK_PARTITIONS"]
    [part] = BackupDirectory(folder).parts()
    file = part.path / "outcomes.avro"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    refused = target.json("restore", str(folder), code=2)
    assert refused["code"] == "damaged_backup"
    assert str(file) in refused["message"]
    file.write_bytes(data)
    assert target.json("restore", str(folder))["users"] == 1
    assert target.json("restore", str(folder), code=2)["code"] == "not_empty"
    assert target.json("backup", str(folder), code=2)["code"] == "other_log"
