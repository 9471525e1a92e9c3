"""Records that no process of ours wrote, and the error code each reader must give them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.identity import history_key
from schemas.topics import COMMANDS, EVENTS, HISTORY, HOPS, TOPICS, Topic
from tests.integration.foreign import SECRET, Future, forged

USERS = ("projector:postgres", "projector:elasticsearch")
READERS: dict[str, tuple[str, ...]] = {
    COMMANDS.name: ("handler",),
    HOPS.name: ("handler",),
    EVENTS.name: USERS,
    HISTORY.name: ("projector:history",),
}
LARGE = 900_000  # near the 1 MB that a broker takes


class Case(NamedTuple):
    """One record, and reader → the code of the letter it must get; other readers accept it."""

    topic: Topic
    partition: int
    key: bytes | None
    value: bytes | None
    codes: dict[str, str]


def corpus(settings: Settings) -> Iterator[Case]:
    """Yield every case, on every topic where it applies."""
    for topic in TOPICS:
        yield from _bytes(settings, topic)
    for topic in (EVENTS, HISTORY):
        yield from _events(settings, topic)
        yield from _taken(settings, topic)


def _bytes(settings: Settings, topic: Topic) -> Iterator[Case]:
    """Yield bytes that are not a record, or not a record of this topic."""
    event, home = forged(settings, "foreign", name=f"{SECRET}~")
    real = Registry(settings).codec(EVENTS.schema).encode(event)
    home = 0 if topic.one_partition else home
    of_events = topic.schema == EVENTS.schema
    known = "bad_avro" if of_events else "wrong_schema"
    cases: list[tuple[bytes | None, str]] = [
        (b"\xff garbage", "wrong_magic"),
        (b"\x01" + real[1:], "wrong_magic"),
        (b"", "wrong_magic"),
        (real[:3], "wrong_magic"),
        (b"\0\x7f\xff\xff\xff" + real[5:], "unknown_schema"),
        # Truncated in the header, in the middle, before the last byte.
        *((real[:end], known) for end in (5, 6, len(real) // 2, len(real) - 1)),
        # Half of a surrogate pair, which is not valid UTF-8.
        (real.replace(b"q~", b"\xed\xa0"), known),
        # A text whose length exceeds any memory.
        (real[:5] + b"\xfe" + b"\xff" * 8 + b"\x01" + real[6:], known),
        (real + b"x", "trailing_bytes" if of_events else "wrong_schema"),
        (real, "wrong_key" if of_events else "wrong_schema"),
        # In the history this is a tombstone of an event that does not exist.
        (None, "wrong_key" if topic is HISTORY else "no_value"),
    ]
    readers = READERS.get(topic.name, ())
    for value, code in cases:
        yield Case(topic, home, b"foreign", value, dict.fromkeys(readers, code))
    if topic.config["cleanup.policy"] != "compact":  # of a compacted topic the broker refuses it
        for value, code in ((None, "no_value"), (real, "wrong_schema")):
            yield Case(topic, home, None, value, dict.fromkeys(readers, code))


def _events(settings: Settings, topic: Topic) -> Iterator[Case]:
    """Yield well-formed events that no handler can have written."""
    encode = Registry(settings).codec(EVENTS.schema).encode
    for changes, code in (
        ({"user_id": "jane"}, "bad_user_id"),
        ({"version": 0}, "bad_version"),
        ({"version": -1}, "bad_version"),
        ({"version": 2**63 - 1}, "bad_version"),
        ({"seq": 0}, "bad_seq"),
        ({"seq": 2**63 - 1}, "bad_seq"),
        ({"occurred_at": -1}, "bad_time"),
        ({"occurred_at": 2**62}, "bad_time"),
        ({"age": 2**16}, "bad_user"),
        ({"age": -1}, "bad_user"),
        ({"name": SECRET * 1_001}, "bad_user"),
        ({"name": "x" * LARGE}, "bad_user"),
        ({"command_id": "x" * 256}, "bad_user"),
    ):
        made: dict[str, Any] = changes
        event, home = forged(settings, "foreign", **made)
        key = _key(topic, event["user_id"], event["version"])
        yield Case(topic, home, key, encode(event), dict.fromkeys(READERS[topic.name], code))
    event, home = forged(settings, "foreign")
    elsewhere = (home + 1) % settings.partitions
    codes = dict.fromkeys(READERS[topic.name], "wrong_partition")
    yield Case(topic, elsewhere, _key(topic, event["user_id"], 1), encode(event), codes)


def _taken(settings: Settings, topic: Topic) -> Iterator[Case]:
    """Yield events that some or all stores accept: of users `nul`, `large` and `future`."""
    encode = Registry(settings).codec(EVENTS.schema).encode
    in_postgres = "projector:postgres" if topic is EVENTS else "projector:history"
    event, home = forged(settings, "nul", name=f"{SECRET}\0")
    key = _key(topic, event["user_id"], 1)
    yield Case(topic, home, key, encode(event), {in_postgres: "postgres_refused"})
    if topic is HISTORY:
        event, home = forged(settings, "nulls")
        event["changes"] = [{"field": "name", "before": f"{SECRET}\0", "after": None}]
        key = _key(topic, event["user_id"], 1)
        yield Case(topic, home, key, encode(event), {in_postgres: "postgres_refused"})
    event, home = forged(settings, "large", type="x" * LARGE)
    yield Case(topic, home, _key(topic, event["user_id"], 1), encode(event), {})
    future = Future(settings, EVENTS.schema)
    future.arrive()
    event, home = forged(settings, "future", type="UserTeleported", name="Future")
    key = _key(topic, event["user_id"], 1)
    yield Case(topic, home, key, future.framed(encode(event)), {})


def _key(topic: Topic, user_id: str, version: int) -> bytes:
    return (user_id if topic is EVENTS else history_key(user_id, version)).encode()
