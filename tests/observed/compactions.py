"""Valid logs, and what compaction may leave of them.

The logs are produced by `decide`, for several users in several partitions. Unreadable records, and
events that a read model refuses, are inserted.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from confluent_kafka import Message
from hypothesis import strategies as st

from producers.domain.overlay import Overlay
from projectors.contract.read_model import Row
from projectors.contract.source import Source
from projectors.log.fold import LogFold
from projectors.log.records import Record, read_record
from schemas.errors import Poisoned
from schemas.records import USER_ERASED, UserCommand, UserEvent
from tests.samples.given import (
    PARTITIONS,
    Log,
    Partition,
    change_email,
    create,
    delete,
    erase,
    update,
)
from tests.unit.producers.domain.reference.log import CODECS, PartitionLog, compacted
from tests.unit.producers.domain.reference.log import Record as Kept

# Commands as (kind, which user, which address or other value).
Steps: TypeAlias = list[tuple[str, int, int]]
# Partition and offset.
Place: TypeAlias = tuple[int, int]

ADDRESSES: Final = [f"u{n}@{domain}" for n in range(3) for domain in ("example.com", "example.org")]
KINDS: Final = ["create"] * 3 + ["update"] * 4 + ["change", "delete", "erase"]
# The rules reject such a user: an address without a domain, and a zero byte. A read model refuses
# one of them or accepts both.
REFUSED: Final = {"email": "nobody", "email_key": "nobody", "name": "Ja\0ne"}

_STEP: Final = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 7), st.integers(0, len(ADDRESSES) - 1)
)
# Lists of lists, because most single lists would be short.
STEPS: Final[st.SearchStrategy[Steps]] = st.lists(
    st.lists(_STEP, min_size=1, max_size=12), min_size=1, max_size=12
).map(lambda lists: [step for steps in lists for step in steps])
SEEDS: Final = st.integers(0, 1 << 32)


class LoggedPartition(Partition):
    """A partition whose overlays go to topics as well."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.log = PartitionLog()

    def commit(self, overlay: Overlay) -> None:
        """Append what a handler would append."""
        super().commit(overlay)
        self.log.commit(overlay)


def decided(steps: Steps) -> list[PartitionLog]:
    """Return the logs of the partitions after these commands were decided."""
    partitions = [LoggedPartition(number) for number in range(PARTITIONS)]
    log = Log(list(partitions))
    for number, (kind, who, which) in enumerate(steps):
        users = [
            event["user_id"] for p in partitions for event in p.events if event["version"] == 1
        ]
        user_id = users[who % len(users)] if users else ""
        if kind == "create" or not users:
            log.send(create(ADDRESSES[which], command_id=f"c{number}"))
        else:
            log.send(_command(kind, user_id, which, f"c{number}"))
        log.settle()
    return [partition.log for partition in partitions]


def _command(kind: str, user_id: str, which: int, command_id: str) -> UserCommand:
    if kind == "update":
        return update(user_id, name=f"Jane {which}", age=which, command_id=command_id)
    if kind == "change":
        return change_email(user_id, ADDRESSES[which], command_id=command_id)
    made = delete(user_id) if kind == "delete" else erase(user_id)
    return {**made, "command_id": command_id}


@dataclass(frozen=True, slots=True)
class Story:
    """The partitions of one topic, as they were appended or after compaction."""

    source: Source
    partitions: list[list[Kept]]

    def read(self, number: int, kept: Kept) -> Record:
        """Return a record of a partition as a projector reads it."""
        decode = CODECS[self.source.topic.name].decode
        message = Message("", number, kept.offset, kept.key.encode(), kept.value)
        return read_record(message, self.source, decode, PARTITIONS)

    def compacted(self, random: Random) -> "Story":
        """Return what compaction may have left of each partition."""
        greed = random.choice((0.3, 0.7, 1.0))
        return Story(self.source, [compacted(kept, random, greed) for kept in self.partitions])

    def prefix(self, random: Random) -> "Story":
        """Return the log as of an earlier time."""
        ends = [random.randint(0, len(kept)) for kept in self.partitions]
        return Story(self.source, [k[:end] for k, end in zip(self.partitions, ends, strict=True)])

    def fold(self, row_of: Callable[[UserEvent], Row], refused: Collection[Place]) -> Counter[Row]:
        """Return the rows of all records except the refused ones."""
        fold = LogFold(self.source, row_of)
        for number, records in enumerate(self.partitions):
            for kept in records:
                if (number, kept.offset) not in refused:
                    with suppress(Poisoned):  # `row_of` refuses it
                        fold.add(self.read(number, kept))
        return Counter(fold.rows())

    def unknown(self, refused: Collection[Place]) -> set[str]:
        """Return the keys whose last record is unreadable or was refused."""
        last = {
            kept.key: (number, kept)
            for number, records in enumerate(self.partitions)
            for kept in records
        }
        return {
            key
            for key, (number, kept) in last.items()
            if (number, kept.offset) in refused or self.read(number, kept).poison
        }

    def key_of(self, row: Row) -> str:
        """Return the key of the record that a row stems from."""
        user_id, *others = row
        return f"{user_id}:{others[0]}" if self.source.every_event else user_id


def spoiled(source: Source, logs: Sequence[PartitionLog], random: Random) -> Story:
    """Return the topic of `source`, with a few records spoiled or garbage inserted."""
    partitions = [list(log.topics[source.topic.name]) for log in logs]
    for _ in range(random.choice((0, 0, 1, 3))):
        records = random.choice(partitions)
        place = random.randint(0, len(records))
        if place < len(records) and random.random() < 0.5:
            records[place] = _refused(source, records[place])
        else:
            key = _key(source, random.choice(records)) if records else "foreign"
            records.insert(place, Kept(0, key, random.choice((b"", b"no Avro", b"\0\0\0\0\1"))))
    return Story(
        source,
        # With gaps, as transaction markers leave them.
        [[kept._replace(offset=3 * n) for n, kept in enumerate(each)] for each in partitions],
    )


def _key(source: Source, kept: Kept) -> str:
    """Return a key for garbage: that of a record, but not of an erasure.

    If garbage superseded an erasure, compaction would remove it, and erased data could come back.
    """
    event = _event(source, kept)
    return "foreign" if event is None or event["type"] == USER_ERASED else kept.key


def _event(source: Source, kept: Kept) -> UserEvent | None:
    try:
        return None if kept.value is None else CODECS[source.topic.name].decode(kept.value)
    except Poisoned:
        return None


def _refused(source: Source, kept: Kept) -> Kept:
    """Return the event with a user that some read models refuse."""
    event = _event(source, kept)
    if event is None or event["user"] is None:
        return kept
    made = event | {"user": event["user"] | REFUSED}
    return kept._replace(value=CODECS[source.topic.name].encode(made))
