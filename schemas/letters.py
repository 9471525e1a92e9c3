"""Dead letters: the form and key that both sides use, and how a letter is settled.

A letter says that a reader could not read or apply a record. It is open until another record with
the same place and reader settles it: `user-dead-letters` is itself a log, so nothing in it is
edited.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from schemas.errors import Poisoned
from schemas.records import DeadLetter
from schemas.trust import MAX_TIME_MS

HANDLER: Final = "handler"
PROJECTOR: Final = "projector:"  # followed by the name of the read model

# How a letter is settled: the record was applied or sent again, a later record made it unnecessary,
# it is no longer on the log, or an operator discarded it.
APPLIED: Final = "applied"
SENT: Final = "sent"
SUPERSEDED: Final = "superseded"
GONE: Final = "gone"
DISCARDED: Final = "discarded"

_MAX_PARTITION: Final = 2**31 - 1  # Kafka numbers partitions with 32 bits
# Topic, partition, offset and reader: there is at most one letter for each.
LetterId: TypeAlias = tuple[str, int, int, str]


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter and how it was settled; times are in milliseconds since the epoch.

    `topic` includes the prefix. `settled` and `settled_at` are None while it is open.
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
        """The coordinates of the record and key of the letter: `topic:partition:offset`."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    @property
    def is_open(self) -> bool:
        """Whether the letter is not settled yet."""
        return self.settled is None


class Letters:
    """Every letter among `records` and those given to `add`, in the order of their first record."""

    def __init__(self, records: Iterable[DeadLetter] = ()) -> None:
        self._letters: dict[LetterId, Letter] = {}
        for record in records:
            self.add(record)

    def add(self, record: DeadLetter) -> None:
        """Fold the next record of the log: the last record of a letter counts.

        One exception: a discarded letter stays discarded when the same error is found again,
        because a new version of a read model reads every old record.
        """
        where = (record["topic"], record["partition"], record["offset"], record["reader"])
        error, how, at = record["error"], record.get("settled"), record["occurred_at"]
        letter = self._letters.get(where)
        if letter is None or (how is None and (letter.settled, letter.error) != (DISCARDED, error)):
            settled_at = None if how is None else at
            letter = Letter(*where, error, record["message"], at, how, settled_at)
        elif how is not None:
            letter = replace(letter, settled=how, settled_at=at)
        self._letters[where] = letter

    def __iter__(self) -> Iterator[Letter]:
        return iter(self._letters.values())


def letter_key(letter: DeadLetter) -> str:
    """Return the key of a letter on its topic."""
    return f"{letter['topic']}:{letter['partition']}:{letter['offset']}"


def letter_of(
    topic: str, partition: int, offset: int, *, reader: str, poison: Poisoned, now: int
) -> DeadLetter:
    """Return the letter for a record of `topic` (with its prefix) that `reader` cannot apply."""
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
    """Return whether rollbook can have written `record`: its key, numbers and time are valid."""
    return (
        key == letter_key(record).encode(errors="replace")
        and 0 <= record["partition"] <= _MAX_PARTITION
        and record["offset"] >= 0
        and 0 <= record["occurred_at"] <= MAX_TIME_MS
    )
