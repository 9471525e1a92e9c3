"""One partition of the in-memory log: entries, transactions and which records a reader receives."""

import time
from dataclasses import dataclass, field
from enum import Enum

Place = tuple[str, int]


class Status(Enum):
    """The state of a transaction."""

    OPEN = 1
    COMMITTED = 2
    ABORTED = 3


@dataclass(eq=False, slots=True)
class Transaction:
    """The places it wrote to, and the offsets by group that commit with it."""

    status: Status = Status.OPEN
    places: set[Place] = field(default_factory=set)
    offsets: dict[str, dict[Place, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry at one offset: a record, or the marker that ends a transaction."""

    key: bytes | None
    value: bytes | None
    transaction: Transaction | None = None
    is_marker: bool = False
    at_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    headers: tuple[tuple[str, bytes], ...] = ()

    def is_visible(self) -> bool:
        """Return whether a reader of committed records receives it."""
        if self.is_marker:
            return False
        return self.transaction is None or self.transaction.status is Status.COMMITTED


class PartitionLog:
    """One partition; its offsets are the indexes of `entries`."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.low = 0
        self._ended_before = 0

    @property
    def end(self) -> int:
        """The high watermark: the next offset to be written."""
        return len(self.entries)

    @property
    def stable_end(self) -> int:
        """The last stable offset: the first record of a transaction still open, else the end."""
        entries, end = self.entries, len(self.entries)
        offset = min(self._ended_before, end)  # a test may remove entries
        while offset < end:
            transaction = entries[offset].transaction
            if transaction is not None and transaction.status is Status.OPEN:
                break
            offset += 1
        self._ended_before = offset
        return offset

    def next_visible(self, start: int) -> int | None:
        """Return the offset of the first committed record from `start`, if there is one."""
        entries = self.entries
        for offset in range(start, self.stable_end):
            if entries[offset].is_visible():
                return offset
        return None

    def next_record(self, start: int) -> int | None:
        """Return the offset of the first record from `start`, committed or not, if there is one."""
        records = (n for n in range(start, self.end) if not self.entries[n].is_marker)
        return next(records, None)

    def first_since(self, at_ms: int) -> int | None:
        """Return the offset of the first entry that is not older, if there is one."""
        entries = range(self.low, self.end)
        return next((n for n in entries if self.entries[n].at_ms >= at_ms), None)

    def open_segment(self, roll_after_ms: int) -> list[Entry]:
        """Return the entries of the segment that is written to, as Kafka closes segments."""
        segment: list[Entry] = []
        for entry in self.entries:
            if segment and entry.at_ms - segment[0].at_ms > roll_after_ms:
                segment = []
            segment.append(entry)
        return segment
