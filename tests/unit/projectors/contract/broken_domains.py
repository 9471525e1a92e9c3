"""Read models that are wrong in ways a read model could be: whoever checks one must find each."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from projectors.contract.read_model import Batch, Position
from schemas.errors import Fenced, NotInTime
from tests.examples.domains import DomainUsers, DomainVersions, transaction


class IgnoresVersions(DomainUsers):
    """Whatever comes last is kept."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._upsert = self._upsert.partition("WHERE")[0]


class ForgetsTheGone(DomainUsers):
    """A user that is gone leaves no marker."""

    def write(self, batch: Batch) -> None:
        """Delete what should stay."""
        super().write(batch)
        with transaction(self._file) as lent:
            lent.execute("DELETE FROM users WHERE domain IS NULL")


class NeverUpdates(DomainUsers):
    """A user is what its first event said."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._upsert = self._upsert.partition("ON CONFLICT")[0] + "ON CONFLICT DO NOTHING"


class NeverFences(DomainUsers):
    """Whoever writes may."""

    def write(self, batch: Batch) -> None:
        """Write from wherever the checkpoint is."""
        found = self.checkpoint()
        wrong = {p for p, step in batch.advances.items() if found.get(p) != step.before}
        ours = {p: step for p, step in batch.advances.items() if p not in wrong}
        super().write(Batch(batch.events, ours))


class LosesWhatIsRefused(DomainUsers):
    """The checkpoint moves before the data is safe."""

    def write(self, batch: Batch) -> None:
        """Write in two transactions."""
        super().write(Batch([], batch.advances))
        super().write(Batch(batch.events, {}))


class StaysWithoutAStep(DomainUsers):
    """Events of a dead letter that is tried again are passed over."""

    def write(self, batch: Batch) -> None:
        """Write what has a step."""
        if batch.advances:
            super().write(batch)


class LivesOn(DomainUsers):
    """That its file is gone is nothing to it."""

    def checkpoint(self) -> dict[int, Position]:
        """Say that it never began."""
        try:
            return super().checkpoint()
        except Fenced:
            return {}


class Broken(DomainVersions):
    """Versions of which each is one of `kind`."""

    kind: ClassVar[type[DomainUsers]] = DomainUsers

    def open(self, number: int) -> DomainUsers:
        """Open it as what it is not."""
        right = super().open(number)
        return self.kind(number, right._file, right._columns)


class HoldsNobody(DomainVersions):
    """A swap does not keep the writers of the live version from going on."""

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        """Wait first."""
        await_caught_up()
        super().swap(number, lambda: None)


class GoesLiveAnyway(DomainVersions):
    """A version that is behind goes live."""

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        """Do not listen."""
        with suppress(NotInTime):
            await_caught_up()
        super().swap(number, lambda: None)


def broken(kind: type[DomainUsers]) -> type[DomainVersions]:
    """Return the versions of a read model that is broken."""
    return type(kind.__name__, (Broken,), {"kind": kind})
