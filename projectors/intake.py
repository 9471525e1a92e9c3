"""From bytes on the log to events that a read model may trust; pure, so that tests need no server.

A record that cannot be trusted is not dropped here: it comes out as `poisoned`, with its place, for
the dead letters.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.errors import Poisoned
from schemas.records import UserEvent
from schemas.trust import check_event


class Message(Protocol):
    """What is read of a Kafka message."""

    def partition(self) -> int | None:
        """Return its partition."""

    def offset(self) -> int | None:
        """Return its offset."""

    def key(self) -> bytes | None:
        """Return its key."""

    def value(self) -> bytes | None:
        """Return its value."""


@dataclass(slots=True)
class Record:
    """One record of the log: its place, and its event or what is wrong with it.

    A record that the read model refuses has both.
    """

    partition: int
    offset: int
    event: UserEvent | None
    poison: Poisoned | None = None
    letter_written: bool = False


def read_record(
    message: Message, decode: Callable[[bytes | None], UserEvent], partitions: int
) -> Record:
    """Return the record of `message`.

    Raises `Unavailable` if its schema is new and the registry cannot be asked.
    """
    partition, offset = message.partition(), message.offset()
    assert partition is not None  # noqa: S101 - every message of a topic has a place
    assert offset is not None  # noqa: S101
    try:
        event = decode(message.value())
        check_event(event, message.key(), partition, partitions)
    except Poisoned as poison:
        return Record(partition, offset, None, poison.with_traceback(None))
    return Record(partition, offset, event)


def last_per_user(records: Iterable[Record]) -> list[UserEvent]:
    """Return one good event per user: the one with the greatest version, as a store would keep."""
    last: dict[str, UserEvent] = {}
    for record in records:
        event = record.event
        if event is None or record.poison is not None:
            continue
        held = last.get(event["user_id"])
        if held is None or held["version"] < event["version"]:
            last[event["user_id"]] = event
    return list(last.values())


def trailing_poison(records: Sequence[Record]) -> int:
    """Return how many records at the end are poisoned, with no good one after."""
    count = 0
    for record in reversed(records):
        if record.poison is None:
            break
        count += 1
    return count


def first_long_run(records: Sequence[Record], most: int, before: int) -> int | None:
    """Return where a run of more than `most` poisoned records begins, or None.

    `before` poisoned ones, already settled, stand in front of the first.
    """
    start, length = 0, before
    for index, record in enumerate(records):
        if record.poison is None:
            start, length = index + 1, 0
            continue
        length += 1
        if length > most:
            return start
    return None
