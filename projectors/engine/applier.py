"""What becomes of records in hand: applied, or dead-lettered, never skipped; nothing of Kafka here.

The rules (design: failure rules), in the order they are kept:
1. A read model that is away is tried again with the same batch, for ever.
2. If it refuses a batch, the uncoalesced records are halved until the one that is refused is alone.
3. A poisoned record waits in hand for a good one after it, or for an idle log. Its dead letter is
   written before the checkpoint passes it.
4. More than a set number of poisoned records in a row is our bug, not theirs: `TooManyPoisoned`,
   and the checkpoint stays in front of them.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from projectors.contract.read_model import Advance, Batch, Position, ReadModel
from projectors.log.records import Record, first_long_run, to_apply, trailing_poison
from schemas.errors import Fenced, Poisoned, RollbookError

log = logging.getLogger(__name__)


class TooManyPoisoned(RollbookError):
    """So many records in a row cannot be applied that the fault is probably ours: stop."""

    default_code = "too_many_poisoned"


class Applier:
    """Applies the records of the partitions it was given, in order; see the module.

    `write_letters` must return only when the letters are safe. `insist` calls a step until the
    server it needs answers. After any error of `apply` the checkpoint is in front of what was not
    applied: `begin` the partitions anew from there.
    """

    def __init__(
        self,
        model: ReadModel,
        write_letters: Callable[[Sequence[Record]], None],
        *,
        most_poisoned_in_a_row: int,
        insist: Callable[[Callable[[], None]], None] = lambda step: step(),
    ) -> None:
        self._model = model
        self._write_letters = write_letters
        self._most = most_poisoned_in_a_row
        self._insist = insist
        self._topic_id = ""
        self._positions: dict[int, Position | None] = {}
        self._held: list[Record] = []
        self._settled_poison = 0  # in a row, passed by the checkpoint because the log was idle

    @property
    def positions(self) -> Mapping[int, Position | None]:
        """Where the read model's checkpoint is, as far as we moved it."""
        return self._positions

    def begin(self, topic_id: str, positions: Mapping[int, Position | None]) -> None:
        """Take over partitions whose checkpoint is at `positions`."""
        self._topic_id = topic_id
        self.drop(positions)
        self._positions.update(positions)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget partitions and what is in hand of them."""
        for partition in list(partitions):
            self._positions.pop(partition, None)
        self._held = [record for record in self._held if record.partition in self._positions]

    def apply(self, records: Sequence[Record]) -> None:
        """Apply `records`; poisoned ones at the end stay in hand.

        Raises `Fenced`, `TooManyPoisoned`, and what `insist` raises.
        """
        records, self._held = [*self._held, *records], []
        run = first_long_run(records, self._most, self._settled_poison)
        if run is not None:
            if run:
                self._settle(records[:run])
            raise self._too_many(records[run])
        self._settle(records)

    def settle(self) -> None:
        """Nothing follows for now: dead-letter what is in hand and let the checkpoint pass it."""
        if not self._held:
            return
        run = first_long_run(self._held, self._most, self._settled_poison)
        if run is not None:
            raise self._too_many(self._held[run])
        self._write(self._held)
        self._settled_poison += len(self._held)
        self._held = []

    def _settle(self, records: list[Record]) -> None:
        good = len(records) - trailing_poison(records)
        records, self._held = records[:good], records[good:]
        if not records:
            return
        try:
            self._write(records)
            self._settled_poison = 0
        except Poisoned as poison:
            held, self._held = self._held, []
            self._isolate(records, poison)
            self._held += held

    def _isolate(self, records: list[Record], poison: Poisoned) -> None:
        """Apply `records`, of which the read model refused the good ones together."""
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
            self._insist(lambda: self._write_letters(letters))
            for record in letters:
                record.letter_written = True
                log.warning("dead letter: %s (%s)", _place(record), _code(record))
        events, removed = to_apply(records, self._model.source)
        batch = Batch(events, self._advances(records), removed)
        tries = 0

        def write() -> None:
            nonlocal tries
            tries += 1
            try:
                self._model.write(batch)
            except Fenced:
                # The answer to an earlier try may have been lost on its way.
                if tries == 1 or not self._landed(batch):
                    raise

        self._insist(write)
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

    def _landed(self, batch: Batch) -> bool:
        found = self._model.checkpoint()
        return all(found.get(p) == advance.after for p, advance in batch.advances.items())

    def _too_many(self, first: Record) -> TooManyPoisoned:
        return TooManyPoisoned(
            f"more than {self._most} records in a row cannot be applied, the first is "
            f"{_place(first)} ({_code(first)}: {first.poison}); the checkpoint stays before it",
            next_step="mend the cause and start it again; or raise dead_letters_in_a_row to pass "
            "them, and later `rollbook dead-letters list` shows and `retry` applies them",
        )


def _place(record: Record) -> str:
    return f"partition {record.partition} offset {record.offset}"


def _code(record: Record) -> str:
    return record.poison.code if record.poison else ""
