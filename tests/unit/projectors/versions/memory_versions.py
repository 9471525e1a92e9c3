"""Versions of a read model in memory; a test can change them between any two calls."""

from collections.abc import Callable, Iterator, Sequence

from projectors.contract.read_model import READY, Batch, Dropped, Position, Row, Version
from projectors.contract.source import LATEST_STATE
from schemas.records import UserEvent


class MemoryModel:
    """One version: its position, and the position that queries see."""

    name = "memory"
    source = LATEST_STATE

    def __init__(self, version: int, asked: Callable[[], None]) -> None:
        self.version = version
        self.seqs: dict[int, int] = {}
        self.visible: dict[int, int] = {}
        self.dropped = False
        self.closed = 0
        self._asked = asked

    def checkpoint(self) -> dict[int, Position]:
        self._asked()
        if self.dropped:
            raise Dropped("it was dropped")
        return {partition: Position("topic", seq, seq) for partition, seq in self.seqs.items()}

    def write(self, batch: Batch) -> None:
        self.seqs |= {partition: step.after.last_seq for partition, step in batch.advances.items()}

    def make_visible(self) -> None:
        self._asked()
        if self.dropped:
            raise Dropped("it was dropped")
        self.visible |= self.seqs

    def row_of(self, event: UserEvent) -> Row:
        return event["user_id"], event["version"]

    def rows(self) -> Iterator[Sequence[Row]]:
        yield []

    def close(self) -> None:
        self.closed += 1


class MemoryVersions:
    """All versions; `happens` is called before every call, to do what other processes do."""

    name = "memory"
    source = LATEST_STATE

    def __init__(self) -> None:
        self.models: dict[int, MemoryModel] = {}
        self.live: int | None = None
        self.paused: dict[int, int] = {}
        self.happens: Callable[[], None] = lambda: None

    def versions(self) -> list[Version]:
        self.happens()
        return [
            Version(n, READY, n == self.live, 0, None, self.paused.get(n))
            for n in sorted(self.models)
        ]

    def begin(self) -> None:
        if not self.models:
            self.live = self.create()

    def create(self) -> int:
        number = max(self.models, default=0) + 1
        self.models[number] = MemoryModel(number, self._asked)
        return number

    def open(self, number: int) -> MemoryModel:
        self.happens()
        return self.models.get(number) or self._dropped(number)

    def finish(self, number: int) -> None:
        """Do nothing: nothing was deferred."""

    def accept(self, number: int) -> None:
        """Do nothing: every version is ready."""

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        await_caught_up()
        self.models[number].visible |= self.models[number].seqs
        self.live = number

    def drop(self, number: int) -> None:
        self.models.pop(number).dropped = True

    def set_paused(self, number: int, *, paused: bool) -> None:
        self.paused.pop(number, None)
        if paused:
            self.paused[number] = 1

    def close(self) -> None:
        """Do nothing."""

    def _asked(self) -> None:
        self.happens()

    def _dropped(self, number: int) -> MemoryModel:
        model = MemoryModel(number, lambda: None)
        model.dropped = True
        return model
