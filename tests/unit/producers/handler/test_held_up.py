"""What must not hold up a handler: a silent registry, a batch that is too large, many restores."""

import threading
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from confluent_kafka import KafkaError

from producers.handler import batch
from producers.handler.partitions import restore
from producers.handler.partitions.ownership import MOST_RESTORES
from producers.handler.partitions.partition import Restoring
from producers.handler.schema_lookup import SchemaLookup
from schemas.coding.codec import RecordCodec, schema_text
from schemas.errors import Forbidden, Poisoned, Unavailable
from schemas.formats import EVENT_SCHEMAS
from schemas.identity import email_shard, partition_of
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, HISTORY, OUTCOMES
from tests.samples.codecs import codec, schema_by_id
from tests.samples.given import PARTITIONS, create, erase, home_of, update
from tests.started.processes import eventually
from tests.unit.producers.handler.in_memory.log import failure
from tests.unit.producers.handler.in_memory.stepping import Cluster

JANE = "jane@example.com"
THEIR_ID = 99
FOREIGN = b"\x00" + THEIR_ID.to_bytes(4)


class Asked:
    """A registry that knows what `answer` returns; counts the requests."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.ids: list[int] = []

    def __call__(self, schema_id: int) -> str:
        self.ids.append(schema_id)
        text: str = self.answer(schema_id)
        return text


def is_away(_id: int) -> NoReturn:
    message = "the registry is away"
    raise Unavailable(message)


def is_unknown(_id: int) -> NoReturn:
    message = "no such schema"
    raise Poisoned(message, code="unknown_schema")


def cluster_with(registry: Any) -> Cluster:
    """Return a cluster whose handlers look schemas of commands and events up there."""
    cluster = Cluster()

    def find(schema_id: int) -> str:
        text: str = registry(schema_id) if schema_id == THEIR_ID else schema_by_id(schema_id)
        return text

    def asking(name: str) -> RecordCodec[Any]:
        return RecordCodec(name, codec(name).schema_id, find)

    cluster.codecs = replace(
        cluster.codecs,
        commands=asking(COMMANDS.schema),
        events={number: asking(name) for number, name in EVENT_SCHEMAS.items()},
    )
    return cluster


def test_a_command_whose_schema_cannot_be_fetched_waits_and_holds_up_only_its_partition() -> None:
    """It is decided, in its place, once the registry answers."""
    registry = Asked(is_away)
    cluster = cluster_with(registry)
    handler = cluster.ready()
    foreign = FOREIGN + cluster.codecs.commands.encode(create(JANE, command_id="theirs"))[5:]
    cluster.log.append(COMMANDS.name, home_of(JANE), b"theirs", foreign)
    cluster.send(create(JANE, "Joan", command_id="later"))
    cluster.send_creates("u")
    here = sum(
        partition_of(email_shard(f"u{n}@example.com"), PARTITIONS) == home_of(JANE)
        for n in range(20)
    )
    cluster.decide(20 - here, handler)
    for _ in range(20):
        handler.run_once()
    assert len(cluster.read(OUTCOMES)) == 20 - here
    registry.answer = lambda _id: schema_text("user_command")
    cluster.decide(22, handler)
    codes = {one["command_id"]: one["code"] for _, one in cluster.read(OUTCOMES)}
    assert (codes["theirs"], codes["later"]) == (None, "user_already_exists")
    assert len(cluster.read(HISTORY)) == 21


def test_a_restore_waits_for_the_registry_and_reads_nothing_twice() -> None:
    registry = Asked(is_away)
    cluster = cluster_with(registry)
    first = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, first)
    log = cluster.log.partitions[EVENTS.name, home_of("u0@example.com")]
    entry = log.entries[0]
    object.__setattr__(entry, "value", FOREIGN + (entry.value or b"")[5:])
    handler = cluster.start()
    for _ in range(50):
        handler.run_once()
    assert len(handler._ownership.ready()) == PARTITIONS - 1
    registry.answer = lambda _id: schema_text("user_event")
    cluster.step_until(lambda: len(handler._ownership.ready()) == PARTITIONS, handler)
    cluster.send_creates("u")
    cluster.decide(40, handler)
    assert len(cluster.read(HISTORY)) == 20


def test_an_unknown_schema_is_not_asked_for_by_each_record() -> None:
    """The foreign commands become dead letters; the one behind them is decided."""
    registry = Asked(is_unknown)
    cluster = cluster_with(SchemaLookup(registry))
    handler = cluster.ready()
    for _ in range(300):
        cluster.log.append(COMMANDS.name, home_of(JANE), b"x", FOREIGN + b"junk")
    cluster.send(create(JANE))
    cluster.decide(1, handler)
    assert len(cluster.read(DEAD_LETTERS)) == 300
    # Once, or on a slow machine again after 0.2 s, 0.4 s …
    assert set(registry.ids) == {THEIR_ID}
    assert len(registry.ids) < 10


def test_a_slow_registry_does_not_stop_the_caller() -> None:
    """The caller is told to come back, and gets the text as soon as it has arrived."""
    may_answer = threading.Event()

    def answer(_id: int) -> str:
        assert may_answer.wait(60)
        return "text"

    lookup = SchemaLookup(answer)
    for schema_id in (1, 2, 1):
        with pytest.raises(Unavailable):
            lookup(schema_id)
    may_answer.set()
    running = lookup._running
    assert running is not None
    assert running.done.wait(60)
    assert lookup(1) == "text"
    assert lookup(1) == "text"


def test_a_registry_that_denies_access_is_not_asked_again_at_once() -> None:
    """Some lock an account after many failed logins."""
    asked: list[int] = []

    def deny(schema_id: int) -> str:
        asked.append(schema_id)
        raise Forbidden("the schema registry denies access")

    lookup = SchemaLookup(deny)

    def answer() -> str:
        try:
            return lookup(1)
        except Unavailable as waiting:
            return str(waiting)

    eventually(lambda: "denies access" in answer(), 30)
    assert {answer() for _ in range(20)} == {"the schema registry denies access"}
    assert asked == [1]
    lookup._ask_again_at = 0.0
    lookup._find = lambda _: "text"
    eventually(lambda: answer() == "text", 30)


def test_erasures_with_long_histories_are_spread_over_several_transactions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each erasure writes a tombstone per version, so their number limits a batch as well."""
    monkeypatch.setattr(batch, "MOST_TOMBSTONES", 20)
    cluster = Cluster()
    handler = cluster.ready()
    emails = [email for n in range(200) if home_of(email := f"u{n}@example.com") == 0][:10]
    cluster.send(*(create(email, command_id=email) for email in emails))
    cluster.decide(10, handler)
    ids = [one["user_id"] for _, one in cluster.read(OUTCOMES)]
    cluster.send(*(update(one, age=n, command_id=f"{one}{n}") for one in ids for n in range(9)))
    cluster.decide(100, handler)
    cluster.send(*(erase(one, command_id=f"e{one}") for one in ids))
    handler.run_once()
    assert len(cluster.read(OUTCOMES)) == 102
    cluster.decide(110, handler)
    cluster.assert_log_is_valid()


def test_a_batch_that_cannot_be_committed_is_tried_again_with_half_its_size() -> None:
    """Down to a single command, and up again once batches are committed."""
    cluster = Cluster()
    handler = cluster.ready()
    sizes: list[int] = []
    for _ in range(10):
        cluster.log.before("commit_transaction", lambda: _fail(KafkaError._TIMED_OUT))
        cluster.send_creates(f"x{len(sizes)}", 100)
        handler.run_once()
        sizes.append(handler._size.most)
    assert sizes[:3] == [50, 25, 12]
    assert sizes[-1] == 1
    cluster.decide(1_000, handler)
    assert handler._size.most > 1


def _fail(code: int) -> NoReturn:
    raise failure(code, abortable=True)


def test_few_partitions_are_restored_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each restore has a consumer with a queue of up to 32 MiB."""
    monkeypatch.setattr(restore, "_STEP_MESSAGES", 1)
    cluster = Cluster()
    first = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, first)
    handler = cluster.start()
    most = 0
    for _ in range(200):
        handler.run_once()
        phases = [one.phase for one in handler._ownership._partitions.values()]
        most = max(most, sum(isinstance(phase, Restoring) for phase in phases))
    assert len(handler._ownership.ready()) == PARTITIONS
    assert 1 <= most <= MOST_RESTORES < PARTITIONS
