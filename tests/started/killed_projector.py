"""A projector that is killed and loses its store at random, and retries its dead letters."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Final

from projectors.contract.read_model import (
    Batch,
    Position,
    ReadModel,
    ReadModelVersions,
    Row,
)
from projectors.engine.applier import Applier
from projectors.log.records import Record, pack_ahead
from schemas.errors import Fenced, Poisoned, Unavailable
from tests.observed.compactions import Place, Steps, Story, decided, spoiled
from tests.samples.given import PARTITIONS
from tests.unit.producers.domain.reference.log import Record as Kept

_TOPIC_ID: Final = "topic"
_MAX_AT_ONCE: Final = 6
_NOT_YET: Final = "not_yet"


class KilledError(Exception):
    """The process ends here."""


class FaultyModel:
    """A read model whose store is unavailable at times, and whose process is killed at others."""

    def __init__(self, model: ReadModel, random: Random) -> None:
        self.source = model.source
        self._model = model
        self._random = random

    def checkpoint(self) -> dict[int, Position]:
        return self._model.checkpoint()

    def write(self, batch: Batch) -> None:
        """Write everything, nothing, or only the data; report it or not."""
        fate = self._random.random()
        if fate < 0.05:
            raise Unavailable("it is down")
        if fate < 0.1:  # as a store without transactions may be left
            self._model.write(Batch(batch.events, {}, batch.removed))
            raise KilledError
        self._model.write(batch)
        if fate < 0.15:
            raise KilledError
        if fate < 0.2:
            raise Unavailable("the answer was lost")


class KilledProjector:
    """Projects into one version, starting at its checkpoint.

    `refused` are the places of records that cannot be applied. Some others are dead-lettered as if
    their schema were not known yet, and retried before the end.
    """

    def __init__(self, versions: ReadModelVersions, number: int, random: Random) -> None:
        self.refused: set[Place] = set()
        self.model = versions.open(number)
        self._versions = versions
        self._random = random
        self._open: set[Place] = set()

    def project(self, story: Story) -> None:
        """Return once every record is applied or refused."""
        while not self._survives(story):
            self.reopen()
        self._retry(story)

    def reopen(self) -> None:
        """Open the version again, as the next process does."""
        self.model.close()
        self.model = self._versions.open(self.model.version)

    def _survives(self, story: Story) -> bool:
        """Project from the checkpoint on; return whether the end was reached."""
        applier = Applier(
            FaultyModel(self.model, self._random),  # type: ignore[arg-type]
            self._write_letters,
            max_poisoned_in_a_row=1000,
            retry=_retry,
        )
        positions = self.model.checkpoint()
        applier.begin(_TOPIC_ID, {number: positions.get(number) for number in range(PARTITIONS)})
        starts = {number: position.next_offset for number, position in positions.items()}
        waiting = {
            number: deque(kept for kept in records if kept.offset >= starts.get(number, 0))
            for number, records in enumerate(story.partitions)
        }
        try:
            while any(waiting.values()):
                applier.apply(self._take(story, waiting))
                self._between(story, applier)
            applier.flush()
        except KilledError:
            return False
        return True

    def _take(self, story: Story, waiting: dict[int, deque[Kept]]) -> list[Record]:
        """Return the next records, of some partitions in random order."""
        records = []
        for number in self._random.sample(sorted(waiting), len(waiting)):
            most = min(len(waiting[number]), self._random.randint(0, _MAX_AT_ONCE))
            records += [story.read(number, waiting[number].popleft()) for _ in range(most)]
        for record in records:
            if record.poison is None and self._random.random() < 0.05:
                record.event, record.removes = None, None
                record.poison = Poisoned("its schema is not known", code=_NOT_YET)
        pack_ahead(records, self.model)
        return records

    def _between(self, story: Story, applier: Applier) -> None:
        fate = self._random.random()
        if fate < 0.1:
            applier.flush()
        elif fate < 0.2:
            self._retry(story)
        elif fate < 0.3:
            raise KilledError

    def _write_letters(self, records: Sequence[Record]) -> None:
        for record in records:
            later = record.poison is not None and record.poison.code == _NOT_YET
            (self._open if later else self.refused).add((record.partition, record.offset))

    def _retry(self, story: Story) -> None:
        """Retry the letters that the checkpoint has passed."""
        ends = {p: position.next_offset for p, position in self.model.checkpoint().items()}
        for number, offset in sorted(self._open):
            if offset < ends.get(number, 0):
                self._open.remove((number, offset))
                [kept] = [one for one in story.partitions[number] if one.offset == offset]
                record = story.read(number, kept)
                events = [record.event] if record.event is not None else []
                removed = [record.removes] if record.removes is not None else []
                try:
                    self.model.write(Batch(events, {}, removed))
                except Poisoned:
                    self.refused.add((number, offset))


def _retry(step: Callable[[], None]) -> None:
    while True:
        try:
            return step()
        except Unavailable:
            continue


def check_live_equals_rebuilt(
    versions: ReadModelVersions,
    steps: Steps,
    seed: int,
    shown: Callable[[int], object] = lambda _number: None,
) -> None:
    """Fail unless a live version, and one built from a compacted log, both equal the log.

    `shown` returns what queries of a version see besides its rows.
    """
    random = Random(seed)
    story = spoiled(versions.source, decided(steps), random)
    numbers = versions.create(), versions.create()
    versions.finish(numbers[0])
    live, rebuilt = (KilledProjector(versions, number, random) for number in numbers)
    try:
        live.project(story if random.random() < 0.5 else story.compacted(random))
        left = story.compacted(random)
        rebuilt.project(left.prefix(random))
        versions.finish(numbers[1])
        if random.random() < 0.5:
            with suppress(Fenced):  # a model opened before is fenced, or stays correct
                rebuilt.project(left)
        rebuilt.reopen()
        rebuilt.project(left)
        refused = live.refused | rebuilt.refused
        unknown = story.unknown(refused)
        expected = _known(story, story.fold(live.model.row_of, refused), unknown)
        for projector in (live, rebuilt):
            assert _known(story, _rows(projector.model), unknown) == expected
        if not unknown:
            assert shown(numbers[0]) == shown(numbers[1])
    finally:
        for projector in (live, rebuilt):
            projector.model.close()
            versions.drop(projector.model.version)


def _rows(model: ReadModel) -> Counter[Row]:
    model.make_visible()
    return Counter(row for rows in model.rows() for row in rows)


def _known(story: Story, rows: Counter[Row], unknown: set[str]) -> Counter[Row]:
    return Counter({row: n for row, n in rows.items() if story.key_of(row) not in unknown})
