"""Foreign bytes on every topic are dead-lettered and passed; nothing gets stuck."""

import json
from collections import Counter
from typing import Any

from runtime.kafka.clients import producer
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.topics import DEAD_LETTERS, EMAILS, EVENTS, HISTORY
from tests.integration.foreign import SECRET, ForeignWriter, Future, forged
from tests.integration.projectors.dead_letters.letter_desk import results
from tests.integration.projectors.engine.foreign_corpus import corpus
from tests.observed.catch_up import wait_caught_up
from tests.observed.log import read
from tests.samples.people import people_csv
from tests.started.processes import Rollbook, RunningProcess, eventually

PERSON = json.dumps({"email": f"{SECRET}@example.com", "name": SECRET, "age": 34})
NEW = ("users", "create", "-")


def put_foreign(settings: Settings, foreign_writer: ForeignWriter) -> Counter[tuple[Any, ...]]:
    """Append the corpus to its topics; return the letters that must be written."""
    expected: Counter[tuple[Any, ...]] = Counter()
    for case in corpus(settings):
        place = foreign_writer.put(case.topic, case.value, case.key, case.partition)
        expected.update((*place, reader, code) for reader, code in case.codes.items())
    return expected


def replace_unreadable(
    settings: Settings, rollbook: Rollbook, foreign_writer: ForeignWriter
) -> None:
    """Let a handler refuse the users whose last record it cannot read, then replace these."""
    handler = rollbook.start_handler(wait=False)
    replacing = [forged(settings, tag, version=2, name="Future") for tag in ("foreign", "future")]
    for home in {home for _, home in replacing}:
        handler.wait_for(f"partition {home} is not decided: cannot restore: ")
    handler.stop()
    for event, home in replacing:
        foreign_writer.put_event(event, home)


def letters(settings: Settings) -> Counter[tuple[Any, ...]]:
    """Return place, reader and error of every dead letter; foreign bytes among them are skipped."""
    found: Counter[tuple[Any, ...]] = Counter()
    for _, letter in read(settings, DEAD_LETTERS, skip_foreign=True):
        assert SECRET not in repr(letter)
        found[tuple(letter[k] for k in ("topic", "partition", "offset", "reader", "error"))] += 1
    return found


def test_foreign_bytes_on_every_topic_block_nothing(
    settings: Settings,
    rollbook: Rollbook,
    handler: RunningProcess,
    projectors: dict[str, RunningProcess],
) -> None:
    """Each is dead-lettered by its readers; commands are still decided.

    After a restart as well, except in the partitions of users whose last record cannot be read.
    """
    before = rollbook.json(*NEW, stdin=PERSON)["user_id"]
    assert rollbook.json("users", "import", "-", stdin=people_csv(20, "before"))["created"] == 20
    foreign_writer = ForeignWriter(settings)
    expected = put_foreign(settings, foreign_writer)
    eventually(lambda: len(letters(settings)) >= len(expected), what="a letter for each")
    wait_caught_up(settings)
    assert letters(settings) == expected
    future, large = (forged(settings, tag)[0]["user_id"] for tag in ("future", "large"))
    for user_id, name in ((future, "Future"), (large, "Forged")):
        assert rollbook.json("users", "get", user_id)["name"] == name
        assert rollbook.run("users", "history", user_id).returncode == 0

    handler.stop()
    replace_unreadable(settings, rollbook, foreign_writer)
    handler = rollbook.start_handler()
    assert rollbook.json("users", "import", "-", stdin=people_csv(20, "after"))["created"] == 20
    changed = ("users", "update", before, "--age", "60", "--expected-version", "1")
    assert rollbook.json(*changed)["version"] == 2
    taken = rollbook.json("users", "update", future, "--age", "41")
    assert taken["version"] == 3
    wait_caught_up(settings)
    assert rollbook.json("users", "summary")["total_users"] == 44
    assert rollbook.json("users", "get", before)["age"] == 60
    eventually(lambda: '"age":41' in rollbook.run("users", "search", "Future", "--json").stdout)
    assert letters(settings) == expected
    verified = rollbook.run("verify", "--timeout", "0")
    assert (verified.returncode, "Traceback" in verified.stderr) == (1, False), verified.stderr
    assert SECRET not in verified.stdout + verified.stderr
    listed = rollbook.run("dead-letters", "list", "--json")
    assert len(listed.stdout.splitlines()) == len(expected)
    assert SECRET not in listed.stdout + listed.stderr
    for process in (handler, *projectors.values()):
        assert SECRET not in process.text()
        assert "Traceback" not in process.text()
        assert process.stop() == 0


def test_events_of_the_future_are_applied_once_the_registry_knows_their_schema(
    settings: Settings, rollbook: Rollbook, projectors: dict[str, RunningProcess]
) -> None:
    """In each read model by its own letter; letters that cannot be fixed stay open."""
    foreign_writer, future = ForeignWriter(settings), Future(settings, EVENTS.schema)
    encode = Registry(settings).codec(EVENTS.schema).encode
    event, home = forged(settings, "future", name="Future", type="UserTeleported")
    key, user_id = event["event_id"], event["user_id"]
    for topic, named in ((EVENTS, user_id), (HISTORY, key)):
        foreign_writer.put(topic, future.framed(encode(event)), named.encode(), home)
    nul, home = forged(settings, "nul", name=f"{SECRET}\0")
    foreign_writer.put_event(nul, home)
    neighbour, home = forged(settings, "neighbour")
    foreign_writer.put_event(neighbour, home)
    eventually(lambda: len(letters(settings)) == 4, what="four letters")
    wait_caught_up(settings)
    assert rollbook.run("users", "get", user_id).returncode == 3
    assert rollbook.run("users", "history", user_id).returncode == 3
    assert "Future" not in rollbook.run("users", "search", "Future").stdout
    assert rollbook.json("users", "get", neighbour["user_id"])["name"] == "Forged"

    assert sorted(results(rollbook, "--all", code=3)) == ["poisoned"] * 4
    future.arrive()
    assert sorted(results(rollbook, "--all", code=3)) == [
        "applied",
        "applied",
        "applied",
        "poisoned",
    ]
    assert rollbook.json("users", "get", user_id)["name"] == "Future"
    assert rollbook.json("users", "history", user_id)["type"] == "UserTeleported"
    eventually(lambda: "Future" in rollbook.run("users", "search", "Future").stdout)
    assert sorted(results(rollbook, "--all", code=3)) == ["poisoned"]
    assert rollbook.json("users", "summary")["total_users"] == 2


def test_users_whom_other_releases_allowed_are_in_every_read_model(
    settings: Settings, rollbook: Rollbook, projectors: dict[str, RunningProcess]
) -> None:
    """As large as a handler restores them; a query without an upper age finds them."""
    foreign_writer = ForeignWriter(settings)
    wide = {"name": "Ж" * 4_000, "age": 2**16 - 1, "created_by": "c" * 255, "issued_by": "k" * 64}
    event, home = forged(settings, "wide", command_id="c" * 255, **wide)
    for topic in (EVENTS, HISTORY):
        foreign_writer.put_event(event, home, topic)
    wait_caught_up(settings)
    user_id = event["user_id"]
    assert letters(settings) == Counter()
    assert rollbook.json("users", "get", user_id)["name"] == wide["name"]
    assert rollbook.json("users", "history", user_id)["version"] == 1
    for query in (
        ("list",),
        ("list", "--min-age", "65"),
        ("export",),
        ("search", "--min-age", "65"),
    ):
        found = eventually(lambda: rollbook.run("users", *query, "--json").stdout)  # noqa: B023
        assert user_id in found, query


def test_the_broker_refuses_a_compacted_record_without_a_key(settings: Settings) -> None:
    """So no reader needs to: no later record could supersede it."""
    errors: list[Any] = []
    client = producer(settings)
    for topic in (EVENTS, HISTORY, EMAILS):
        client.produce(
            settings.named(topic.name), b"x", on_delivery=lambda error, _: errors.append(error)
        )
    client.flush(30)
    assert [error.name() for error in errors] == ["INVALID_RECORD"] * 3
