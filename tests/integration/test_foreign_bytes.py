"""Bytes that nobody of ours wrote, on every topic: dead-lettered, passed over, nothing stuck."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from projectors.status import CAUGHT_UP, read_status
from projectors.wiring import READ_MODELS
from runtime.kafka import lone_consumer, producer
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import Poisoned
from schemas.identity import email_shard, event_id, new_user_id, partition_of
from schemas.records import USER_UPDATED, User, UserEvent
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, HISTORY, HOPS, TOPICS, Topic
from scripts.bench.stores import remove_read_models
from tests.given import create
from tests.processes import Rollbook, RunningProcess, eventually

SECRET = "qsecretq"  # in every name and address given here, and never in what is told of them
PERSON = json.dumps({"email": f"{SECRET}@example.com", "name": SECRET, "age": 34})
NEW = ("users", "create", "-")


def people(tag: str) -> str:
    """Return twenty people as CSV: every partition has some of them."""
    return "email,name,age\n" + "".join(f"{tag}{n}@example.com,Other,{n}\n" for n in range(20))


def forged(settings: Settings, tag: str, **changes: Any) -> tuple[UserEvent, int]:
    """Return an event such as no handler wrote, and the partition its user lives in."""
    email = f"{tag}@example.com"
    user_id = new_user_id(email_shard(email), 1_700_000_000_000, 1)
    user: User = {
        "email": email,
        "email_key": email,
        "name": changes.pop("name", "Forged"),
        "age": 40,
        "created_at": 1_700_000_000_000,
        "created_by": "c",
    }
    event: Any = {
        "event_id": event_id(user_id, 1),
        "command_id": "c",
        "seq": 1000,
        "user_id": user_id,
        "version": 1,
        "occurred_at": 1_700_000_000_000,
        "type": USER_UPDATED,
        "changes": [],
        "user": user,
    }
    return event | changes, partition_of(email_shard(email), settings.partitions)


class Stranger:
    """Puts bytes on any topic and remembers where they stand: (topic, partition, offset)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = producer(settings)

    def put(
        self, topic: Topic, value: bytes | None, key: bytes | None, partition: int = 0
    ) -> tuple[str, int, int]:
        """Write one record and wait until it is there."""
        stored: list[int | None] = []
        name = self._settings.named(topic.name)
        self._producer.produce(
            name,
            value,
            key,
            partition,
            on_delivery=lambda error, it: stored.append(None if error else it.offset()),
        )
        assert self._producer.flush(30) == 0
        [offset] = stored
        assert offset is not None
        return name, partition, offset


def put_foreign(settings: Settings, stranger: Stranger) -> Counter[tuple[Any, ...]]:
    """Put bytes that are no record on every topic; return the letters that must be written."""
    codec = Registry(settings).codec(EVENTS.schema)
    both = ["projector:postgres", "projector:elasticsearch"]
    readers = {topic.name: ["handler"] for topic in (COMMANDS, HOPS)}
    readers |= {EVENTS.name: both, HISTORY.name: ["projector:history"]}
    expected: Counter[tuple[Any, ...]] = Counter()
    event, home = forged(settings, "foreign")
    real = codec.encode(event)
    for topic in TOPICS:
        events = topic.schema == EVENTS.schema
        for key, value, code in (
            (b"foreign", b"\xff garbage", "wrong_magic"),
            (b"foreign", b"\x01" + real[1:], "wrong_magic"),
            (b"foreign", b"", "wrong_magic"),
            # In the history that is a tombstone, of no event of ours.
            (b"foreign", None, "wrong_key" if topic is HISTORY else "no_value"),
            (None, None, "no_value"),
            (None, b"\0\x7f\xff\xff\xff" + real[5:], "unknown_schema"),
            (b"foreign", real + b"x", "trailing_bytes" if events else "wrong_schema"),
            (None, real, "wrong_schema"),
            (b"foreign", real, "wrong_key" if events else "wrong_schema"),
        ):
            if key is None and topic.config["cleanup.policy"] == "compact":
                continue  # the broker itself refuses it
            partition = 0 if topic.one_partition else home
            place = stranger.put(topic, value, key, partition)
            expected.update((*place, reader, code) for reader in readers.get(topic.name, []))
    for changes, code in (
        ({"user_id": "jane"}, "bad_user_id"),
        ({"version": 0}, "bad_version"),
        ({"version": -1}, "bad_version"),
        ({"version": 2**63 - 1}, "bad_version"),
        ({"seq": 0}, "bad_seq"),
        ({"seq": 2**63 - 1}, "bad_seq"),
        ({"occurred_at": 2**62}, "bad_time"),
    ):
        event, home = forged(settings, "foreign", **changes)
        place = stranger.put(EVENTS, codec.encode(event), event["user_id"].encode(), home)
        expected.update((*place, reader, code) for reader in both)
    elsewhere = (home + 1) % settings.partitions
    place = stranger.put(EVENTS, real, event["user_id"].encode(), elsewhere)
    expected.update((*place, reader, "wrong_partition") for reader in both)
    event, home = forged(settings, "nul", name=f"{SECRET}\0")
    place = stranger.put(EVENTS, codec.encode(event), event["user_id"].encode(), home)
    expected[(*place, "projector:postgres", "postgres_refused")] = 1
    return expected


def letters(settings: Settings) -> Counter[tuple[Any, ...]]:
    """Return all dead letters there are, foreign bytes among them left out."""
    codec = Registry(settings).codec(DEAD_LETTERS.schema)
    found: Counter[tuple[Any, ...]] = Counter()
    with closing(lone_consumer(settings, **{"enable.partition.eof": True})) as consumer:
        consumer.assign([TopicPartition(settings.named(DEAD_LETTERS.name), 0, 0)])
        while (message := consumer.poll(10)) is not None and message.error() is None:
            with suppress(Poisoned):
                one = codec.decode(message.value())
                assert SECRET not in repr(one)
                found[
                    tuple(one[k] for k in ("topic", "partition", "offset", "reader", "error"))
                ] += 1
    return found


@pytest.fixture
def projectors(rollbook: Rollbook, settings: Settings) -> Iterator[list[RunningProcess]]:
    """All projectors, running; what they made goes with the test."""
    yield [rollbook.start_projector(name) for name in READ_MODELS]
    rollbook.stop_all()
    remove_read_models(settings)


def caught_up(settings: Settings) -> bool:
    found = read_status(settings).partitions
    return all(one.state == CAUGHT_UP and one.lag == 0 for one in found)


def test_foreign_bytes_on_every_topic_stick_nothing(
    settings: Settings,
    rollbook: Rollbook,
    handler: RunningProcess,
    projectors: list[RunningProcess],
) -> None:
    """Each is dead-lettered where it stands by who reads it; commands get through, restarts too."""
    before = rollbook.json(*NEW, stdin=PERSON)["user_id"]
    assert rollbook.json("users", "import", "-", stdin=people("before"))["created"] == 20
    stranger = Stranger(settings)
    expected = put_foreign(settings, stranger)
    future, home = forged(settings, "future", type="UserTeleported", name="Future")
    value = Registry(settings).codec(EVENTS.schema).encode(future)
    stranger.put(EVENTS, value, future["user_id"].encode(), home)
    eventually(lambda: len(letters(settings)) >= len(expected), what="a letter for each")
    eventually(lambda: caught_up(settings), what="past the foreign bytes")
    assert letters(settings) == expected
    assert rollbook.json("users", "get", future["user_id"])["name"] == "Future"

    handler.stop()
    handler = rollbook.start_handler()
    assert rollbook.json("users", "import", "-", stdin=people("after"))["created"] == 20
    changed = ("users", "update", before, "--age", "60", "--expected-version", "1")
    assert rollbook.json(*changed)["version"] == 2
    taken = rollbook.json("users", "update", future["user_id"], "--age", "41")
    assert taken["version"] == 2
    eventually(lambda: caught_up(settings), what="what came after")
    assert rollbook.json("users", "summary")["total_users"] == 42
    assert rollbook.json("users", "get", before)["age"] == 60
    eventually(lambda: rollbook.json("users", "search", "Future")["age"] == 41)
    assert letters(settings) == expected
    verified = rollbook.run("verify", "--timeout", "0")
    assert (verified.returncode, "Traceback" in verified.stderr) == (1, False), verified.stderr
    assert SECRET not in verified.stdout + verified.stderr
    for process in (handler, *projectors):
        assert SECRET not in process.text()
        assert "Traceback" not in process.text()
        assert process.stop() == 0


def test_a_command_on_the_wrong_partition_is_refused(
    settings: Settings, rollbook: Rollbook, handler: RunningProcess
) -> None:
    """It gets its answer, and nobody is created."""
    command = create(f"{SECRET}@example.com", command_id="lost")
    home = partition_of(email_shard(f"{SECRET}@example.com"), settings.partitions)
    value = Registry(settings).codec(COMMANDS.schema).encode(command)
    Stranger(settings).put(COMMANDS, value, b"lost", (home + 1) % settings.partitions)
    eventually(lambda: rollbook.run("commands", "show", "lost").returncode == 3, what="an answer")
    done = rollbook.run("commands", "show", "lost", "--json")
    assert json.loads(done.stdout)["code"] == "wrong_partition"
    assert json.loads(done.stderr)["error"]["code"] == "wrong_partition"
    assert SECRET not in done.stdout + done.stderr
    assert rollbook.json(*NEW, stdin=PERSON)["status"] == "accepted"
