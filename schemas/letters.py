"""Dead letters as both sides write them: one form, one key, and what settles them.

A letter says that a reader could not read or apply a record. It is open until another record of the
same place and reader settles it: `user-dead-letters` is a log as well, and nothing in it is edited.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from schemas.errors import Poisoned
from schemas.records import DeadLetter
from schemas.trust import MAX_TIME_MS

HANDLER: Final = "handler"
PROJECTOR: Final = "projector:"  # a projector's reader is this and the name of its read model

# How a letter ends: what a read model or the handler was given again, what the log made needless
# or impossible, and what somebody decided to leave.
APPLIED: Final = "applied"
SENT: Final = "sent"
SUPERSEDED: Final = "superseded"
GONE: Final = "gone"
DISCARDED: Final = "discarded"

_MOST: Final = 2**31 - 1  # of partitions, as Kafka counts them
# Topic, partition, offset and reader: of what there is one letter at most.
LetterId: TypeAlias = tuple[str, int, int, str]


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter and what became of it; times are in milliseconds since the epoch.

    `topic` has its prefix. `settled` and `settled_at` are None while it is open.
    """

    topic: str
    partition: int
    offset: int
    reader: str
    error: str
    message: str
    occurred_at: int
    settled: str | None = None
    settled_at: int | None = None

    @property
    def place(self) -> str:
        """Where the record stands, which is the key of the letter: `topic:partition:offset`."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    @property
    def is_open(self) -> bool:
        """Whether nothing has settled it."""
        return self.settled is None


class Letters:
    """Every letter of the records given to `add`, in the order they were first written."""

    def __init__(self) -> None:
        self._held: dict[LetterId, Letter] = {}

    def add(self, record: DeadLetter) -> None:
        """Take the next record of the log: the last one of a letter decides.

        But what was discarded stays so when the same is found wrong with it again: a new version of
        a read model meets every old record.
        """
        where = (record["topic"], record["partition"], record["offset"], record["reader"])
        error, how, at = record["error"], record.get("settled"), record["occurred_at"]
        held = self._held.get(where)
        if held is None or (how is None and (held.settled, held.error) != (DISCARDED, error)):
            ended_at = None if how is None else at
            held = Letter(*where, error, record["message"], at, how, ended_at)
        elif how is not None:
            held = replace(held, settled=how, settled_at=at)
        self._held[where] = held

    def __iter__(self) -> Iterator[Letter]:
        return iter(self._held.values())


def letter_key(letter: DeadLetter) -> str:
    """Return the key that a letter has on its topic."""
    return f"{letter['topic']}:{letter['partition']}:{letter['offset']}"


def letter_of(
    topic: str, partition: int, offset: int, *, reader: str, poison: Poisoned, now: int
) -> DeadLetter:
    """Return the letter for a record of `topic` (with its prefix) that `reader` cannot take."""
    return {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "reader": reader,
        "error": poison.code,
        "message": str(poison),
        "occurred_at": now,
        "settled": None,
    }


def settlement(letter: Letter, how: str, now: int) -> DeadLetter:
    """Return the record that settles `letter`."""
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reader": letter.reader,
        "error": letter.error,
        "message": letter.message,
        "occurred_at": now,
        "settled": how,
    }


def is_letter(record: DeadLetter, key: bytes | None) -> bool:
    """Return whether one of ours can have written it: its key, its numbers and its time fit."""
    return (
        key == letter_key(record).encode(errors="replace")
        and 0 <= record["partition"] <= _MOST
        and record["offset"] >= 0
        and 0 <= record["occurred_at"] <= MAX_TIME_MS
    )
