"""Compares a version of a read model with the log, row by row, in memory for one partition.

Of each partition the number of rows and the sum of their hashes are compared; only of one that
differs are the rows looked at, to name the users.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from projectors.contract.read_model import ReadModel, Row
from projectors.log.fold import LogFold, read_partition
from projectors.log.records import Record
from runtime.settings import Settings
from schemas.identity import partition_of, user_shard
from schemas.records import UserEvent

_HASH_BITS = (1 << 64) - 1
MOST_NAMED = 5


@dataclass(slots=True)
class Digest:
    """The number of rows and a sum over them, in whatever order they come."""

    rows: int = 0
    total: int = 0

    def add(self, row: Row) -> None:
        """Count a row in."""
        self.rows += 1
        self.total = (self.total + hash(row)) & _HASH_BITS


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared: rows that the log says there are, users left out, users that differ.

    Left out are users with a dead letter, of whom the read model may hold something else, and those
    who `changed` behind the checkpoint: of them the log may have lost what it held up to there.
    """

    rows: int
    with_letters: int
    changed: int
    differing: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether the read model holds exactly what the log says."""
        return not self.differing


def compare(
    settings: Settings,
    model: ReadModel,
    decode: Callable[[bytes | None], UserEvent],
    letters: Mapping[int, set[int]],
    on_progress: Callable[[int], None] = lambda _partition: None,
) -> Comparison:
    """Compare what `model` holds with a fold of the log up to its checkpoint.

    Nobody may write to it meanwhile. `letters` are the offsets of dead letters by partition;
    `on_progress` is given how many partitions were read. Raises `Unavailable`.
    """
    log = _LogSide(settings, model, decode, letters)
    expected = {}
    for partition in range(settings.partitions):
        expected[partition] = digest = Digest()
        for row in log.fold(partition).rows():
            digest.add(row)
        on_progress(partition + 1)
    model.make_visible()
    store = _StoreSide(model, settings.partitions, log.with_letters | log.changed)
    found = {partition: Digest() for partition in expected}
    for partition, row in store.rows():
        found[partition].add(row)
    differing: set[str] = set()
    for partition, digest in expected.items():
        if digest != found[partition]:
            rows = Counter(log.fold(partition).rows())
            left_out = log.with_letters | log.changed  # it was read later: more may have changed
            again = _StoreSide(model, settings.partitions, left_out)
            rows.subtract(row for where, row in again.rows() if where == partition)
            differing |= {row[0] for row, count in rows.items() if count}
    compared = sum(digest.rows for digest in expected.values())
    return Comparison(compared, len(log.with_letters), len(log.changed), sorted(differing))


class _LogSide:
    """What the log says.

    It is read to its end, not only to the checkpoint: a record before the checkpoint is compacted
    away once its user has a later one, and then that later one is met. So who has changed since is
    known, and nobody seems to be missing.
    """

    def __init__(
        self,
        settings: Settings,
        model: ReadModel,
        decode: Callable[[bytes | None], UserEvent],
        letters: Mapping[int, set[int]],
    ) -> None:
        self._settings = settings
        self._model = model
        self._decode = decode
        self._letters = letters
        self.with_letters: set[str] = set()
        self.changed: set[str] = set()
        self._ends = {p: position.next_offset for p, position in model.checkpoint().items()}

    def fold(self, partition: int) -> LogFold:
        """Fold a partition up to the checkpoint."""
        source, end = self._model.source, self._ends.get(partition, 0)
        fold = LogFold(source, self._model.row_of)
        letters = self._letters.get(partition, set())
        for records in read_partition(self._settings, source, self._decode, partition):
            for record in records:
                if record.offset < end and record.offset not in letters:
                    fold.add(record)
                elif (user_id := _user_of(record)) is not None:
                    fold.leave_out(user_id)
                    (self.with_letters if record.offset < end else self.changed).add(user_id)
        return fold


def _user_of(record: Record) -> str | None:
    if record.removes is not None:
        return record.removes[0]
    return None if record.event is None else record.event["user_id"]


class _StoreSide:
    """What the read model holds."""

    def __init__(self, model: ReadModel, partitions: int, left_out: set[str]) -> None:
        self._model = model
        self._partitions = partitions
        self._left_out = left_out

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Yield every row and its partition, but those of users who are left out."""
        for rows in self._model.rows():
            for row in rows:
                if row[0] not in self._left_out:
                    yield partition_of(user_shard(row[0]), self._partitions), row
