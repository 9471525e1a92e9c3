"""A backup that is taken under load restores a registry that continues, on a log of its own."""

import json
import random
from contextlib import closing
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from fastavro import schemaless_writer

from producers.client import CommandClient, change_email_command, update_command
from projectors.catalog import OURS
from runtime.kafka.clients import end_reader
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.log_ranges import log_ranges, read_topic
from schemas.coding.codec import MAGIC, parse, schema_text
from schemas.formats import EVENT_SCHEMAS, mark_key
from schemas.records import UserCommand
from schemas.topics import COMMANDS, EVENTS, HISTORY, OUTCOMES, Topic
from scripts.backup import take
from scripts.backup.cut import Ends
from scripts.backup.directory import BackupDirectory
from scripts.backup.files import read_records
from scripts.verify.run import run_checks
from tests.conftest import PARTITIONS
from tests.depth import depth
from tests.observed.log import decided, put, read, send
from tests.samples.events import event_of
from tests.samples.given import address_in, home_of
from tests.started.addresses import assert_log_is_valid, create_when_free, holders
from tests.started.processes import Rollbook, RunningProcess, eventually

pytestmark = pytest.mark.timeout(300)

MARKS = {mark_key(number, PARTITIONS).encode() for number in range(PARTITIONS)}
COMMANDS_SENT = depth(400, 20_000)


def any_command(chance: random.Random, ids: list[Any], emails: list[str], n: int) -> UserCommand:
    """Return a change of address most of the time, else an update."""
    user_id = chance.choice(ids)
    if chance.random() < 0.3:
        return update_command(user_id, age=chance.randint(0, 99), command_id=f"c{n}")
    return change_email_command(user_id, chance.choice(emails), None, f"c{n}")


def raw(settings: Settings, topic: Topic) -> list[tuple[bytes, bytes]]:
    """Return the key and the bytes of each record of a topic."""
    ranges = log_ranges(settings, topic, range(settings.partitions))
    with closing(end_reader(settings)) as consumer:
        messages = chain.from_iterable(read_topic(settings, consumer, topic, ranges))
        return [(one.key() or b"", one.value() or b"") for one in messages]


def in_backup(folder: Path) -> tuple[set[str], set[str]]:
    """Return the ids of the commands that the last part has an answer to, and the undecided."""
    last = BackupDirectory(folder).parts()[-1]
    found = [
        {one["record"]["command_id"] for one in read_records(last.path / name, topic)}
        for name, topic in (("outcomes.avro", OUTCOMES), ("commands.avro", COMMANDS))
    ]
    return found[0], found[1]


def test_a_backup_under_load_restores_a_registry_that_continues(
    rollbook: Rollbook, target: Rollbook, folder: Path, monkeypatch: pytest.MonkeyPatch
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
    # Messages are committed all the time, so the cut is at a time, even if it met a quiet moment.
    monkeypatch.setattr(take, "Ends", partial(_busy, Ends))
    take.take_backup(settings, folder, lambda _count: None)  # starts at once, unlike a command
    handler.stop()
    late = [any_command(chance, ids, emails, n) for n in range(COMMANDS_SENT, COMMANDS_SENT + 100)]
    send(settings, late)
    sent += late
    last = take.take_backup(settings, folder, lambda _count: None)
    answered, waiting = in_backup(folder)
    assert last.manifest.commands.records == len(waiting) >= len(late)
    assert not answered & waiting
    assert {one["command_id"] for one in sent} <= answered | waiting

    done = target.json("restore", str(folder))
    assert (done["parts"], done["users"], done["undecided_commands"]) == (3, 10, len(waiting))
    assert_log_is_valid(target.settings)
    assert_continues(target, ids, emails, answered | waiting)


def _busy(ends: Any, history: dict[int, int], *, is_quiet: bool, now_ms: int) -> Ends:
    found: Ends = ends(history, is_quiet=False, now_ms=now_ms)
    return found


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


def test_users_and_answers_come_back_and_the_erased_do_not(
    rollbook: Rollbook, handler: RunningProcess, target: Rollbook, folder: Path, tmp_path: Path
) -> None:
    """A command that is repeated gets its first answer, and the next event the next seq.

    Erased are a user of whom a later part holds that, and one whose id is given.
    """
    with CommandClient(rollbook.settings) as client:
        ids = [client.create_user(f"user{n}@example.com", "Jane", 34).user_id for n in range(4)]
        assert client.change_email(ids[1], address_in(3, "moved")).accepted
        rollbook.json("backup", str(folder))
        rollbook.json("users", "erase", str(ids[0]), "--yes")
        update = update_command(ids[2], age=35, command_id="second")
        updated, refused = client.send(update), client.create_user("user2@example.com", "Other", 3)
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
        repeated = client.send(update)
        assert (repeated.token, repeated.version) == (updated.token, updated.version)
        assert client.create_user("user2@example.com", "Other", 3).user_id == refused.user_id
        later = client.send(update_command(ids[2], age=36))
        assert later.version == 3
        assert client.create_user("user1@example.com", "Joe", 3).user_id not in ids
        assert client.send(update_command(ids[1], age=3)).code == "user_not_found"
    assert_log_is_valid(target.settings)


def test_ids_of_schemas_are_rewritten(
    settings: Settings, rollbook: Rollbook, target: Rollbook, folder: Path
) -> None:
    """The log has records with another id than the one that the new registry gives."""
    registry = Registry(settings)
    other = json.loads(schema_text(HISTORY.schema))
    other["fields"] = [field for field in other["fields"] if field["name"] != "changes"]
    body = {"schema": json.dumps(other), "schemaType": "AVRO"}
    answer = registry._request("POST", f"subjects/{settings.prefix}/versions", "", body)
    assert answer["id"] != registry.codec(HISTORY.schema).schema_id
    partition = home_of("jane@example.com")
    first, second = (event_of("jane@example.com", version, seq=version) for version in (1, 2))
    value = BytesIO(MAGIC + answer["id"].to_bytes(4))
    value.seek(0, 2)
    schemaless_writer(value, parse(json.dumps(other)), second)
    ours = registry.codec(HISTORY.schema).encode(first)
    put(settings, HISTORY, (first["event_id"], ours, partition))
    for topic, key in ((HISTORY, second["event_id"]), (EVENTS, second["user_id"])):
        put(settings, topic, (key, value.getvalue(), partition))
    rollbook.json("backup", str(folder))
    target.json("restore", str(folder))
    ids = {Registry(settings).codec(name).schema_id for name in EVENT_SCHEMAS.values()}
    for topic, count in ((HISTORY, 2), (EVENTS, 1)):
        found = [value for key, value in raw(target.settings, topic) if key not in MARKS]
        assert len(found) == count
        assert {int.from_bytes(value[1:5]) for value in found} <= ids


def test_a_restore_refuses_what_it_would_damage(
    rollbook: Rollbook, handler: RunningProcess, target: Rollbook, folder: Path
) -> None:
    """A registry that is not empty, a damaged file, other partitions: nothing is written."""
    rollbook.json("users", "create", "--email", "a@example.com", "--name", "A", "--age", "1")
    assert target.json("restore", str(rollbook.directory), code=2)["error"]["code"] == "no_backup"
    rollbook.json("backup", str(folder))
    refused = rollbook.json("restore", str(folder), code=2)
    assert refused["error"]["code"] == "not_empty"
    target.overrides["ROLLBOOK_PARTITIONS"] = "3"
    assert target.json("restore", str(folder), code=2)["error"]["code"] == "other_partitions"
    del target.overrides["ROLLBOOK_PARTITIONS"]
    [part] = BackupDirectory(folder).parts()
    file = part.path / "outcomes.avro"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    refused = target.json("restore", str(folder), code=2)
    assert refused["error"]["code"] == "damaged_backup"
    assert str(file) in refused["error"]["message"]
    file.write_bytes(data)
    assert target.json("restore", str(folder))["users"] == 1
    assert target.json("restore", str(folder), code=2)["error"]["code"] == "not_empty"
    assert target.json("backup", str(folder), code=2)["error"]["code"] == "other_log"
