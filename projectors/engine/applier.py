"""Applies records to a read model or dead-letters them; never skips one and does not use Kafka.

The failure rules, in the order in which they apply:
1. If the read model is unavailable, the same batch is retried for ever.
2. If it refuses a batch, the batch is halved until the refused record is alone. All events of a
user are written then, not only the last.
3. A poisoned record at the end of a batch stays pending until a good one follows or the log is
idle. Its dead letter is written before the checkpoint passes it.
4. More than a set number of poisoned records in a row means a bug in rollbook rather than bad
records: `TooManyPoisoned`, and the checkpoint stays before them.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from projectors.contract.read_model import Advance, Batch, Position, ReadModel
from projectors.log.records import (
    Record,
    events_of,
    first_long_run,
    packed,
    to_apply,
    trailing_poison,
)
from schemas.errors import Fenced, Poisoned, RollbookError

log = logging.getLogger(__name__)


class TooManyPoisoned(RollbookError):
    """Too many records in a row cannot be applied: probably a bug, so the projector stops."""

    default_code = "too_many_poisoned"


class Applier:
    """Applies the records of its partitions, in order within each; see the module.

    `write_letters` must return only once the letters are stored. `retry` calls a step until the
    server that it needs is available. After any error of `apply` the checkpoint is before the first
    record that was not applied: `begin` the partitions again from there.
    """

    def __init__(
        self,
        model: ReadModel,
        write_letters: Callable[[Sequence[Record]], None],
        *,
        max_poisoned_in_a_row: int,
        retry: Callable[[Callable[[], None]], None] = lambda step: step(),
    ) -> None:
        self._model = model
        self._write_letters = write_letters
        self._max_in_a_row = max_poisoned_in_a_row
        self._retry = retry
        self._topic_id = ""
        self._positions: dict[int, Position | None] = {}
        self._pending: list[Record] = []
        self._passed_poison = 0  # in a row, passed while the log was idle

    @property
    def positions(self) -> Mapping[int, Position | None]:
        """The checkpoint of each partition, as this process last moved it."""
        return self._positions

    def begin(self, topic_id: str, positions: Mapping[int, Position | None]) -> None:
        """Take over partitions whose checkpoint is at `positions`."""
        self._topic_id = topic_id
        self.drop(positions)
        self._positions.update(positions)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget partitions and their pending records."""
        for partition in list(partitions):
            self._positions.pop(partition, None)
        self._pending = [record for record in self._pending if record.partition in self._positions]

    def apply(self, records: Sequence[Record]) -> None:
        """Apply `records`; poisoned ones at the end stay pending.

        Raises `Fenced`, `TooManyPoisoned`, and what `retry` raises.
        """
        records, self._pending = [*self._pending, *records], []
        run = first_long_run(records, self._max_in_a_row, self._passed_poison)
        if run is not None:
            if run:
                self._apply_to_last_good(records[:run])
            raise self._too_many(records[run])
        self._apply_to_last_good(records)

    def flush(self) -> None:
        """Dead-letter the pending records and let the checkpoint pass them: the log is idle."""
        if not self._pending:
            return
        run = first_long_run(self._pending, self._max_in_a_row, self._passed_poison)
        if run is not None:
            raise self._too_many(self._pending[run])
        self._write(self._pending)
        self._passed_poison += len(self._pending)
        self._pending = []

    def _apply_to_last_good(self, records: list[Record]) -> None:
        good = len(records) - trailing_poison(records)
        records, self._pending = records[:good], records[good:]
        if not records:
            return
        try:
            self._write(records)
            self._passed_poison = 0
        except Poisoned as poison:
            pending, self._pending = self._pending, []
            self._isolate(records, poison)
            self._pending += pending

    def _isolate(self, records: list[Record], poison: Poisoned) -> None:
        """Apply `records` in halves, after the read model refused the good ones together."""
        good = [index for index, record in enumerate(records) if record.poison is None]
        if len(good) == 1:
            records[good[0]].poison = poison.with_traceback(None)
            self.apply(records)
            return
        middle = good[len(good) // 2]
        self.apply(records[:middle])
        self.apply(records[middle:])

    def _write(self, records: Sequence[Record]) -> None:
        letters = [r for r in records if r.poison is not None and not r.letter_written]
        if letters:
            self._retry(lambda: self._write_letters(letters))
            for record in letters:
                record.letter_written = True
                of = {"partition": record.partition, "code": _code(record)}
                log.warning("dead letter: %s (%s)", _place(record), _code(record), extra=of)
        applied, removed = to_apply(records, self._model.source)
        batch = Batch(events_of(applied), self._advances(records), removed, packed(applied))
        tries = 0

        def write() -> None:
            nonlocal tries
            tries += 1
            try:
                self._model.write(batch)
            except Fenced:
                # The answer to an earlier try may have been lost.
                if tries == 1 or not self._was_written(batch):
                    raise

        self._retry(write)
        self._positions.update({p: advance.after for p, advance in batch.advances.items()})

    def _advances(self, records: Sequence[Record]) -> dict[int, Advance]:
        offsets = {record.partition: record.offset for record in records}
        seqs = {r.partition: r.event["seq"] for r in records if r.event is not None}
        advances = {}
        for partition, offset in offsets.items():
            before = self._positions[partition]
            seq = seqs.get(partition, before.last_seq if before else 0)
            advances[partition] = Advance(before, Position(self._topic_id, offset + 1, seq))
        return advances

    def _was_written(self, batch: Batch) -> bool:
        stored = self._model.checkpoint()
        return all(stored.get(p) == advance.after for p, advance in batch.advances.items())

    def _too_many(self, first: Record) -> TooManyPoisoned:
        return TooManyPoisoned(
            f"more than {self._max_in_a_row} records in a row cannot be applied; the first is "
            f"{_place(first)} ({_code(first)}: {first.poison}); the checkpoint stays before it",
            next_step="fix the cause and start it again; or raise dead_letters_in_a_row to "
            "dead-letter them, and retry them later (`rollbook dead-letters list`)",
        )


def _place(record: Record) -> str:
    return f"partition {record.partition} offset {record.offset}"


def _code(record: Record) -> str:
    return record.poison.code if record.poison else ""
