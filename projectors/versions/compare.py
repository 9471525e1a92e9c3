"""Compares a version of a read model with the log, with one partition in memory at a time.

The number of rows of each partition and the sum of their hashes are compared. Only where these
differ are the rows themselves compared, to name the users.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from projectors.contract.read_model import ReadModel, ReadModelVersions
from projectors.contract.refusals import version_not_found
from projectors.dead_letters.reader import letter_offsets
from projectors.versions.digests import Digest, Letters, LogSide, StoredRows
from projectors.versions.shared_work import digest_log, digest_stored_rows
from runtime.kafka.registry import Registry
from runtime.process import StopSignal
from runtime.settings import Settings
from runtime.workers import Workers
from schemas.records import UserEvent

MAX_NAMED = 5


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
    *,
    workers: Workers | None = None,
    stopping: StopSignal | None = None,
) -> Comparison:
    """Compare a version with the log; see `compare`. Raises `Rejected` (`version_not_found`)."""
    if number not in {version.number for version in versions.versions()}:
        raise version_not_found(versions.name, number)
    topic = versions.source.topic
    decode = Registry(settings).codec(topic.schema).decode
    letters = letter_offsets(settings, versions.name, topic)
    with closing(versions.open(number)) as model:
        return compare(
            settings, model, decode, letters, on_progress, workers=workers, stopping=stopping
        )


def compare(
    settings: Settings,
    model: ReadModel,
    decode: Callable[[bytes | None], UserEvent],
    letters: Letters,
    on_progress: Callable[[int], None] = lambda _partition: None,
    *,
    workers: Workers | None = None,
    stopping: StopSignal | None = None,
) -> Comparison:
    """Compare the rows of `model` with a fold of the log up to its checkpoint.

    Projectors may write to it meanwhile: users that change are left out. `on_progress` receives the
    number of partitions read. The `workers` open the version by its name; they share the
    partitions, and the stored rows if the model `DividesRows`. Raises `Unavailable`, and
    `WorkStopped` once `stopping` is set.
    """
    stopping = StopSignal() if stopping is None else stopping  # one that is not set is false
    log = LogSide(settings, model, decode, letters, stopping)
    stored = StoredRows(settings.partitions, stopping)
    folded = 0

    def on_folded() -> None:
        nonlocal folded
        folded += 1
        on_progress(folded)

    if workers is None:
        expected = log.digests(range(settings.partitions), on_folded)
        model.make_visible()
        found = stored.digests(model.rows(), log.left_out)
    else:
        expected = digest_log(workers, log, on_folded)
        model.make_visible()
        found = digest_stored_rows(workers, model, log.left_out, stopping)
    differing: set[str] = set()
    for partition, digest in expected.items():
        if digest != found.get(partition, Digest()):
            differing |= _differing(log, stored, model, partition)
    compared = sum(digest.rows for digest in expected.values())
    return Comparison(compared, len(log.with_letters), len(log.changed), sorted(differing))


def _differing(log: LogSide, stored: StoredRows, model: ReadModel, partition: int) -> set[str]:
    """Return the users of a partition whose rows differ."""
    rows = Counter(log.fold(partition).rows())
    again = stored.each(model.rows(), log.left_out)  # read again: more users may have changed
    rows.subtract(row for where, row in again if where == partition)
    found = {row[0] for row, count in rows.items() if count}
    if found:
        log.fold(partition)  # and again: users may have changed while the rows were read
    return found - log.left_out
