"""What the processes of a rebuild or comparison do: each a share of the partitions or rows."""

import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, nullcontext
from typing import Any, Final

from projectors.catalog import open_versions
from projectors.contract.read_model import DividesRows, ReadModel
from projectors.engine.start import open_runner
from projectors.versions.digests import Digest, Letters, LogSide, StoredRows
from runtime.kafka.registry import Registry
from runtime.process import StopSignal
from runtime.workers import Worker, Workers

_REPORT_SECONDS: Final = 0.2


def shares(partitions: int, count: int) -> list[Sequence[int]]:
    """Return the partitions that each of `count` processes has, at least one."""
    return [range(first, partitions, count) for first in range(min(partitions, count))]


def fill_partitions(worker: Worker, name: str, number: int, share: Sequence[int]) -> int:
    """Apply what the log has in these partitions; return the number of events.

    Reports its first partition, the events so far, and how much of the work is done (0 to 1).
    """
    due = 0.0

    def on_step() -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due:
            due = now + _REPORT_SECONDS
            worker.report((share[0], runner.catch_up.events, runner.catch_up.fraction))

    with closing(open_versions(worker.settings, name)) as versions:
        model = versions.open(number)
        runner = open_runner(worker.settings, model, worker.stopping, share=share)
        runner.run_until_caught_up(len(share), on_step)
    return runner.catch_up.events


def digest_log(workers: Workers, log: LogSide, on_folded: Callable[[], None]) -> dict[int, Digest]:
    """Have the log's partitions folded; return their digests, and tell `log` who is left out."""
    model, letters = log.model, log.letters
    work = [
        (model.name, model.version, share, {p: letters[p] for p in share if p in letters})
        for share in shares(log.settings.partitions, workers.count)
    ]
    expected: dict[int, Digest] = {}
    for digests, with_letters, changed in workers.run(
        _fold, work, lambda _partition: on_folded(), log.stopping
    ):
        expected |= digests
        log.with_letters |= with_letters
        log.changed |= changed
    return expected


def _fold(
    worker: Worker, name: str, number: int, share: Sequence[int], letters: Letters
) -> tuple[dict[int, Digest], set[str], set[str]]:
    with closing(open_versions(worker.settings, name)) as versions:
        decode = Registry(worker.settings).codec(versions.source.topic.schema).decode
        with closing(versions.open(number)) as model:
            log = LogSide(worker.settings, model, decode, letters, worker.stopping)
            found = log.digests(share, lambda: worker.report(None))
    return found, log.with_letters, log.changed


def digest_stored_rows(
    workers: Workers, model: ReadModel, left_out: AbstractSet[str], stopping: StopSignal
) -> dict[int, Digest]:
    """Have the stored rows read; return the digest of each partition that has any."""
    found: dict[int, Digest] = {}
    alone = nullcontext([None])
    with model.divide_rows(workers.count) if isinstance(model, DividesRows) else alone as parts:
        work = [(model.name, model.version, part, left_out) for part in parts]
        results = workers.run(_read_rows, work, lambda _message: None, stopping)
    for digests in results:
        for partition, digest in digests.items():
            found.setdefault(partition, Digest()).add_all(digest)
    return found


def _read_rows(
    worker: Worker, name: str, number: int, part: Any, left_out: AbstractSet[str]
) -> dict[int, Digest]:
    stored = StoredRows(worker.settings.partitions, worker.stopping)
    with (
        closing(open_versions(worker.settings, name)) as versions,
        closing(versions.open(number)) as model,
    ):
        pages = model.rows_of(part) if isinstance(model, DividesRows) else model.rows()
        return stored.digests(pages, left_out)
