"""Broken read models: the promises must detect each of them."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from projectors.contract.read_model import Batch, Position
from schemas.errors import Fenced, NotInTime
from tests.examples.domains import DomainUsers, DomainVersions, transaction


class IgnoresVersions(DomainUsers):
    """Keeps whatever arrives last."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._upsert = self._upsert.partition("WHERE")[0]


class ForgetsTheDeleted(DomainUsers):
    """Keeps no marker of a deleted user."""

    def write(self, batch: Batch) -> None:
        super().write(batch)
        with transaction(self._file) as lent:
            lent.execute("DELETE FROM users WHERE domain IS NULL")


class NeverUpdates(DomainUsers):
    """Keeps the first event of each user."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._upsert = self._upsert.partition("ON CONFLICT")[0] + "ON CONFLICT DO NOTHING"


class NeverFences(DomainUsers):
    """Writes whatever the checkpoint is."""

    def write(self, batch: Batch) -> None:
        found = self.checkpoint()
        wrong = {p for p, step in batch.advances.items() if found.get(p) != step.before}
        ours = {p: step for p, step in batch.advances.items() if p not in wrong}
        super().write(Batch(batch.events, ours))


class LosesRefused(DomainUsers):
    """Moves the checkpoint before the data is stored."""

    def write(self, batch: Batch) -> None:
        super().write(Batch([], batch.advances))
        super().write(Batch(batch.events, {}))


class SkipsBatchesWithoutAStep(DomainUsers):
    """Ignores the events of a dead letter that is retried."""

    def write(self, batch: Batch) -> None:
        if batch.advances:
            super().write(batch)


class IgnoresItsEnd(DomainUsers):
    """Treats a version that was dropped as a new one."""

    def checkpoint(self) -> dict[int, Position]:
        try:
            return super().checkpoint()
        except Fenced:
            return {}


class Broken(DomainVersions):
    """Versions that are all opened as `kind`."""

    kind: ClassVar[type[DomainUsers]] = DomainUsers

    def open(self, number: int) -> DomainUsers:
        right = super().open(number)
        return self.kind(number, right._file, right._columns)


class BlocksNoWriter(DomainVersions):
    """Its swap does not block the writers of the live version."""

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        await_caught_up()
        super().swap(number, lambda: None)


class GoesLiveAnyway(DomainVersions):
    """Makes a version live although it is behind."""

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        with suppress(NotInTime):
            await_caught_up()
        super().swap(number, lambda: None)


def broken(kind: type[DomainUsers]) -> type[DomainVersions]:
    """Return the versions of a broken read model."""
    return type(kind.__name__, (Broken,), {"kind": kind})
