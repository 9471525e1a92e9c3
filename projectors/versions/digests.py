"""The two sides of a comparison, the log and the stored rows, as one small digest per partition."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias

from projectors.contract.read_model import ReadModel, Row
from projectors.log.fold import LogFold, read_partition
from projectors.log.records import Record
from runtime.process import StopSignal
from runtime.settings import Settings
from runtime.workers import WorkStopped
from schemas.identity import partition_of, user_shard
from schemas.records import UserEvent

_HASH_BITS = (1 << 64) - 1
_NOTHING = "\0"

# Partition → the offsets of its records that have a dead letter of this read model.
Letters: TypeAlias = Mapping[int, set[int]]


@dataclass(slots=True)
class Digest:
    """The number of rows and the sum of their hashes, which does not depend on their order.

    Hashes of texts: those of two processes can be added or compared only if both have one seed.
    """

    rows: int = 0
    total: int = 0

    def add(self, row: Row) -> None:
        """Add a row."""
        self.rows += 1
        if None in row:  # its hash differs between processes before Python 3.12
            row = (row[0], *(_NOTHING if value is None else value for value in row[1:]))
        # The hash of a tuple is nearly linear in those of its values: a plain sum of them would
        # often be the same after two users have exchanged a value. That of a text is not.
        self.total = (self.total + hash(str(hash(row)))) & _HASH_BITS

    def add_all(self, other: "Digest") -> None:
        """Add the rows of another digest."""
        self.rows += other.rows
        self.total = (self.total + other.total) & _HASH_BITS


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Reads the rows that are stored, `partitions` being those of the log."""

    partitions: int
    stopping: StopSignal

    def each(
        self, pages: Iterable[Sequence[Row]], left_out: AbstractSet[str]
    ) -> Iterator[tuple[int, Row]]:
        """Yield every row and its partition, except those of users that are left out.

        Raises `WorkStopped`.
        """
        for rows in pages:
            if self.stopping:
                raise WorkStopped
            for row in rows:
                if row[0] not in left_out:
                    yield partition_of(user_shard(row[0]), self.partitions), row

    def digests(
        self, pages: Iterable[Sequence[Row]], left_out: AbstractSet[str]
    ) -> dict[int, Digest]:
        """Return the digest of each partition that has stored rows."""
        found: dict[int, Digest] = {}
        for partition, row in self.each(pages, left_out):
            if partition not in found:
                found[partition] = Digest()
            found[partition].add(row)
        return found


class LogSide:
    """The rows that the log implies.

    The log is read to its end, not only to the checkpoint: once a user has a later record,
    compaction may remove the one before the checkpoint. Reading on finds the later one, so the user
    counts as changed and not as missing from the log.
    """

    def __init__(
        self,
        settings: Settings,
        model: ReadModel,
        decode: Callable[[bytes | None], UserEvent],
        letters: Letters,
        stopping: StopSignal,
    ) -> None:
        self.settings = settings
        self.model = model
        self._decode = decode
        self.letters = letters
        self.stopping = stopping
        self.with_letters: set[str] = set()
        self.changed: set[str] = set()
        self._ends = {p: position.next_offset for p, position in model.checkpoint().items()}

    @property
    def left_out(self) -> set[str]:
        """The users that are not compared, as far as the log has been read."""
        return self.with_letters | self.changed

    def fold(self, partition: int) -> LogFold:
        """Fold a partition up to the checkpoint. Raises `WorkStopped`, `Unavailable`."""
        source, end = self.model.source, self._ends.get(partition, 0)
        fold = LogFold(source, self.model.row_of)
        letters = self.letters.get(partition, set())
        for records in read_partition(self.settings, source, self._decode, partition):
            if self.stopping:
                raise WorkStopped
            for record in records:
                if record.offset < end and record.offset not in letters:
                    fold.add(record)
                elif (user_id := _user_of(record)) is not None:
                    fold.leave_out(user_id)
                    (self.with_letters if record.offset < end else self.changed).add(user_id)
        return fold

    def digests(
        self, partitions: Iterable[int], on_folded: Callable[[], None]
    ) -> dict[int, Digest]:
        """Return the digest of each partition; one at a time is in memory."""
        found = {}
        for partition in partitions:
            found[partition] = digest = Digest()
            for row in self.fold(partition).rows():
                digest.add(row)
            on_folded()
        return found


def _user_of(record: Record) -> str | None:
    if record.removes is not None:
        return record.removes[0]
    return None if record.event is None else record.event["user_id"]
