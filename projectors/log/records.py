"""Decodes and checks the records of the log; pure, so that tests need no server.

A record that cannot be trusted is not dropped here: it becomes a `Record` with its place and the
reason, for the dead letters.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message

from projectors.contract.read_model import EventKey, PacksEvents
from projectors.contract.source import Source
from schemas.errors import Poisoned
from schemas.formats import is_mark_key
from schemas.records import UserEvent
from schemas.trust import removed_event


@dataclass(slots=True)
class Record:
    """One record of the log: its place, and its event, or the event it removes, or its `poison`.

    The mark of the log's format (see `schemas.formats`) has none of them.
    A record that the read model refused has both an event and `poison`. `packed` is the event as
    the store takes it, or None.
    """

    partition: int
    offset: int
    event: UserEvent | None
    poison: Poisoned | None = None
    letter_written: bool = False
    removes: EventKey | None = None
    packed: Any = None


def read_record(
    message: Message, source: Source, decode: Callable[[bytes | None], UserEvent], partitions: int
) -> Record:
    """Return the record of `message`, which was read from the topic of `source`.

    Raises `Unavailable` if its schema is new and the registry is unavailable.
    """
    partition, offset = message.partition(), message.offset()
    assert partition is not None  # noqa: S101 - every message of a topic has them
    assert offset is not None  # noqa: S101
    try:
        if source.every_event and message.value() is None:
            removes = removed_event(message.key(), partition, partitions)
            return Record(partition, offset, None, removes=removes)
        event = decode(message.value())
        source.check(event, message.key(), partition, partitions)
    except Poisoned as poison:
        if poison.code == "wrong_schema" and is_mark_key(message.key(), partition, partitions):
            return Record(partition, offset, None)  # states the format of the log: no event
        return Record(partition, offset, None, poison.with_traceback(None))
    return Record(partition, offset, event)


def pack_ahead(records: Iterable[Record], model: object) -> None:
    """Pack the events of `records` for a model that `PacksEvents`; for others do nothing.

    It stops at the first that cannot be packed: a write will refuse that.
    """
    if not isinstance(model, PacksEvents):
        return
    try:
        for record in records:
            if record.event is not None:
                record.packed = model.pack_event(record.event)
    except Exception:  # noqa: BLE001 - whatever it is, the write raises it again and says why
        return


def packed(records: Iterable[Record]) -> list[Any]:
    """Return the packed event of each record; nothing unless all are packed."""
    found = [record.packed for record in records]
    return [] if any(one is None for one in found) else found


def to_apply(records: Sequence[Record], source: Source) -> tuple[list[Record], list[EventKey]]:
    """Return those of `records` whose events a read model of `source` receives, and removals."""
    return every_event(records) if source.every_event else (last_per_user(records), [])


def events_of(records: Iterable[Record]) -> list[UserEvent]:
    """Return the events of records that have one."""
    return [record.event for record in records if record.event is not None]


def every_event(records: Sequence[Record]) -> tuple[list[Record], list[EventKey]]:
    """Return the records of good events in order, and the events to remove before them.

    An event that a later record of `records` removes is left out.
    """
    removed: set[EventKey] = set()
    kept: list[Record] = []
    for record in reversed(records):
        event = record.event
        if record.removes is not None:
            removed.add(record.removes)
        elif event is not None and record.poison is None:
            if removed and (event["user_id"], event["version"]) in removed:
                continue
            kept.append(record)
    return kept[::-1], sorted(removed)


def last_per_user(records: Iterable[Record]) -> list[Record]:
    """Return one good record per user, of the highest version, as a store keeps it."""
    last: dict[str, tuple[int, Record]] = {}
    for record in records:
        event = record.event
        if event is None or record.poison is not None:
            continue
        user_id, version = event["user_id"], event["version"]
        stored = last.get(user_id)
        if stored is None or stored[0] < version:
            last[user_id] = version, record
    return [record for _, record in last.values()]


def trailing_poison(records: Sequence[Record]) -> int:
    """Return how many records at the end are poisoned, after the last good one."""
    count = 0
    for record in reversed(records):
        if record.poison is None:
            break
        count += 1
    return count


def first_long_run(records: Sequence[Record], limit: int, before: int) -> int | None:
    """Return the index where a run of more than `limit` poisoned records begins, or None.

    `before` poisoned records, already passed, precede the first.
    """
    start, length = 0, before
    for index, record in enumerate(records):
        if record.poison is None:
            start, length = index + 1, 0
            continue
        length += 1
        if length > limit:
            return start
    return None
