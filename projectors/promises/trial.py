"""A read model under test: writes events to its versions and folds them for comparison."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

from projectors.contract.read_model import (
    Advance,
    Batch,
    DividesRows,
    Position,
    ReadModel,
    ReadModelVersions,
    Version,
)
from projectors.log.fold import LogFold
from projectors.log.records import Record, events_of, pack_ahead, packed, to_apply
from schemas.errors import Unavailable
from schemas.records import UserEvent


class Copy:
    """One version of the read model, and the fold of all that was written to it."""

    def __init__(self, model: ReadModel) -> None:
        self.model = model
        self.positions: dict[int, Position] = {}
        self.fold = LogFold(model.source, model.row_of)

    def step(self, partition: int = 0, records: int = 1) -> dict[int, Advance]:
        """Return the next step of a partition's checkpoint."""
        before = self.positions.get(partition)
        offset = before.next_offset if before else 0
        seq = before.last_seq if before else 0
        return {partition: Advance(before, Position("topic", offset + records, seq + records))}

    def write(self, *events: UserEvent, partition: int = 0, steps: bool = True) -> Batch:
        """Apply events as one batch and fold them; return the batch.

        Without `steps` the checkpoint stays where it is.
        """
        return self._take([Record(partition, 0, event) for event in events], partition, steps=steps)

    def remove(self, event: UserEvent) -> None:
        """Apply the tombstone of an event: the record that removes it from the log."""
        self._take(
            [Record(0, 0, None, removes=(event["user_id"], event["version"]))], 0, steps=True
        )

    def _take(self, records: Sequence[Record], partition: int, *, steps: bool) -> Batch:
        if steps:  # retried letters come unpacked
            pack_ahead(records, self.model)
        applied, removed = to_apply(records, self.model.source)
        advances = self.step(partition, len(records) or 1) if steps else {}
        batch = Batch(events_of(applied), advances, removed, packed(applied))
        self.model.write(batch)
        self.positions |= {p: step.after for p, step in advances.items()}
        for record in records:
            self.fold.add(record)
        return batch

    def check(self) -> None:
        """Fail unless rows and checkpoint are exactly what was written."""
        self.model.make_visible()
        stored = Counter(row for rows in self.model.rows() for row in rows)
        assert stored == Counter(self.fold.rows())
        if isinstance(self.model, DividesRows):
            with self.model.divide_rows(3) as parts:
                pages = [page for part in parts for page in self.model.rows_of(part)]
            assert Counter(row for page in pages for row in page) == stored
        assert self.model.checkpoint() == self.positions


class Trial:
    """The versions of a read model in an empty store; `open_versions` opens them again."""

    def __init__(self, open_versions: Callable[[], ReadModelVersions]) -> None:
        self._open = open_versions
        self._opened: list[ReadModelVersions] = []
        self._models: list[ReadModel] = []
        self.versions = self.open_versions()

    def open_versions(self) -> ReadModelVersions:
        """Open the versions as another process would."""
        self._opened.append(self._open())
        return self._opened[-1]

    def live(self) -> Copy:
        """Create the first version; return it, live."""
        self.versions.begin()
        return self.open(self.live_number())

    def open(self, number: int) -> Copy:
        """Open a version that has not been written to."""
        return Copy(self._open_model(self.versions, number))

    def reopen(self, copy: Copy) -> ReadModel:
        """Open a version as another process would."""
        return self._open_model(self.open_versions(), copy.model.version)

    def build_ready(self) -> Copy:
        """Return another version, built and accepted, not live."""
        number = self.versions.create()
        self.versions.finish(number)
        self.versions.accept(number)
        return self.open(number)

    def found_versions(self) -> dict[int, Version]:
        """Return the versions by number, as another process sees them."""
        return {version.number: version for version in self.open_versions().versions()}

    def live_number(self) -> int:
        """Return the number of the live version; fail unless exactly one is live."""
        [number] = [version.number for version in self.versions.versions() if version.live]
        return number

    def close(self) -> None:
        """Close all connections; the data stays."""
        for model in self._models:
            model.close()
        for versions in self._opened:
            versions.close()

    def _open_model(self, versions: ReadModelVersions, number: int) -> ReadModel:
        self._models.append(versions.open(number))
        return self._models[-1]


Promise: TypeAlias = Callable[[Trial], None]
# All promises, in the order in which their modules are imported.
PROMISES: list[Promise] = []


def promise(check: Promise) -> Promise:
    """Register a promise."""
    PROMISES.append(check)
    return check


def promise_name(check: Promise) -> str:
    """Return the name of a promise as words, for test ids."""
    return check.__name__.replace("_", " ")


def retry_while_unavailable(step: Callable[..., Any], *given: Any, **options: Any) -> None:
    """Call `step` until it is not `Unavailable`, as projectors do, for at most 30 s."""
    until = time.monotonic() + 30
    while True:
        try:
            step(*given, **options)
        except Unavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def error_name(call: Future[None]) -> str:
    """Return the name of the error that a call raised; an empty text if none."""
    error = call.exception()
    return type(error).__name__ if error else ""
