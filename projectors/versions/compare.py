"""Compares a version of a read model with the log, with one partition in memory at a time.

The number of rows of each partition and the sum of their hashes are compared. Only where these
differ are the rows themselves compared, to name the users.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from projectors.contract.read_model import ReadModel, ReadModelVersions, Row
from projectors.contract.refusals import version_not_found
from projectors.dead_letters.reader import letter_offsets
from projectors.log.fold import LogFold, read_partition
from projectors.log.records import Record
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.identity import partition_of, user_shard
from schemas.records import UserEvent

_HASH_BITS = (1 << 64) - 1
MAX_NAMED = 5


@dataclass(slots=True)
class Digest:
    """The number of rows and the sum of their hashes, which does not depend on their order."""

    rows: int = 0
    total: int = 0

    def add(self, row: Row) -> None:
        """Add a row."""
        self.rows += 1
        self.total = (self.total + hash(row)) & _HASH_BITS


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result: the rows that the log implies, the users left out, the users that differ.

    Two kinds of users are left out: those with a dead letter, whose rows may legitimately differ,
    and those that `changed` after the checkpoint, whose earlier events compaction may have removed.
    """

    rows: int
    with_letters: int
    changed: int
    differing: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether the read model equals the log."""
        return not self.differing

    def as_json(self, read_model: str, version: int) -> dict[str, Any]:
        """Return the result as commands print it and services answer it."""
        return {
            "read_model": read_model,
            "version": version,
            "same": self.same,
            "rows_compared": self.rows,
            "users_left_out": self.with_letters,
            "users_changed_meanwhile": self.changed,
            "users_differing": len(self.differing),
            "examples": self.differing[:MAX_NAMED],
        }


def compare_version(
    settings: Settings,
    versions: ReadModelVersions,
    number: int,
    on_progress: Callable[[int], None] = lambda _partition: None,
) -> Comparison:
    """Compare a version with the log; see `compare`. Raises `Rejected` (`version_not_found`)."""
    if number not in {version.number for version in versions.versions()}:
        raise version_not_found(versions.name, number)
    topic = versions.source.topic
    decode = Registry(settings).codec(topic.schema).decode
    letters = letter_offsets(settings, versions.name, topic)
    with closing(versions.open(number)) as model:
        return compare(settings, model, decode, letters, on_progress)


def compare(
    settings: Settings,
    model: ReadModel,
    decode: Callable[[bytes | None], UserEvent],
    letters: Mapping[int, set[int]],
    on_progress: Callable[[int], None] = lambda _partition: None,
) -> Comparison:
    """Compare the rows of `model` with a fold of the log up to its checkpoint.

    Projectors may write to it meanwhile: users that change are left out. `letters` maps partitions
    to the offsets of dead letters; `on_progress` receives the number of partitions read. Raises
    `Unavailable`.
    """
    log = _LogSide(settings, model, decode, letters)
    expected = {}
    for partition in range(settings.partitions):
        expected[partition] = digest = Digest()
        for row in log.fold(partition).rows():
            digest.add(row)
        on_progress(partition + 1)
    model.make_visible()
    found = {partition: Digest() for partition in expected}
    left_out = log.with_letters | log.changed
    for partition, row in _stored_rows(model, settings.partitions, left_out):
        found[partition].add(row)
    differing: set[str] = set()
    for partition, digest in expected.items():
        if digest != found[partition]:
            rows = Counter(log.fold(partition).rows())
            left_out = log.with_letters | log.changed  # read again: more users may have changed
            again = _stored_rows(model, settings.partitions, left_out)
            rows.subtract(row for where, row in again if where == partition)
            found_here = {row[0] for row, count in rows.items() if count}
            if found_here:
                log.fold(partition)  # and again: users may have changed while the rows were read
            differing |= found_here - log.changed - log.with_letters
    compared = sum(digest.rows for digest in expected.values())
    return Comparison(compared, len(log.with_letters), len(log.changed), sorted(differing))


class _LogSide:
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


def _stored_rows(
    model: ReadModel, partitions: int, left_out: set[str]
) -> Iterator[tuple[int, Row]]:
    """Yield every stored row and its partition, except those of users that are left out."""
    for rows in model.rows():
        for row in rows:
            if row[0] not in left_out:
                yield partition_of(user_shard(row[0]), partitions), row
