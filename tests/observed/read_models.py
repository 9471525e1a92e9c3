"""Read models without a log: events applied to a version directly."""

from collections.abc import Mapping
from typing import Any

from projectors.contract.read_model import (
    Advance,
    Batch,
    EventKey,
    Position,
    ReadModelVersions,
)
from projectors.postgres.store.database import Database
from projectors.postgres.store.versions import PostgresVersions
from runtime.closing import Closing
from schemas.records import UserEvent


def live_versions(versions: ReadModelVersions) -> list[int]:
    """Return the numbers of the versions that are live: exactly one, unless something is wrong."""
    return [version.number for version in versions.versions() if version.live]


def ready_version(
    versions: ReadModelVersions,
    *events: UserEvent,
    advances: Mapping[int, Advance] | None = None,
) -> int:
    """Create another version with these events, make it ready, and return its number."""
    number = versions.create()
    model = versions.open(number)
    try:
        model.write(Batch(events, advances or {}))
    finally:
        model.close()
    versions.finish(number)
    versions.accept(number)
    return number


def at_once() -> None:
    """Do nothing: the version has already caught up."""


class OpenVersion(Closing):
    """An open version of a read model in PostgreSQL, by default the first, and its position."""

    def __init__(self, versions: PostgresVersions, version: int = 1) -> None:
        versions.begin()
        self.versions = versions
        self.model = versions.open(version)
        self.database: Database = versions._version(version)
        self.position = self.model.checkpoint().get(0)

    def write(self, *events: UserEvent, removed: tuple[EventKey, ...] = ()) -> None:
        """Apply the events as one batch of partition 0."""
        step = self.step(len(events) or 1)
        self.model.write(Batch(events, {0: step}, removed))
        self.position = step.after

    def step(self, records: int, last_seq: int = 0) -> Advance:
        """Return the next step of the checkpoint, over this many records."""
        offset = self.position.next_offset if self.position else 0
        return Advance(self.position, Position("topic", offset + records, last_seq))

    def rows(self, text: Any) -> list[tuple[Any, ...]]:
        with self.database.session() as connection:
            return connection.execute(self.database.statement(text)).fetchall()

    def close(self) -> None:
        """Close the connections; the tables stay."""
        self.model.close()
        self.database.close()
        self.versions.close()
