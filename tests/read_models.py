"""A version of a read model in PostgreSQL without a log: events applied to it by hand."""

from typing import Any, Self

from projectors.contract.read_model import Advance, Batch, EventKey, Position
from projectors.postgres.store.database import Database
from projectors.postgres.store.versions import PostgresVersions
from schemas.records import UserEvent


class Held:
    """A version of a read model, and where its checkpoint is: the live one, or number `version`."""

    def __init__(self, versions: PostgresVersions, version: int = 1) -> None:
        versions.begin()
        self.versions = versions
        self.model = versions.open(version)
        self.database: Database = versions._version(version)
        self.position = self.model.checkpoint().get(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, *events: UserEvent, removed: tuple[EventKey, ...] = ()) -> None:
        """Apply the events as one batch of partition 0."""
        step = self.step(len(events) or 1)
        self.model.write(Batch(events, {0: step}, removed))
        self.position = step.after

    def step(self, records: int, last_seq: int = 0) -> Advance:
        """Return the next step of the checkpoint, over so many records."""
        offset = self.position.next_offset if self.position else 0
        return Advance(self.position, Position("topic", offset + records, last_seq))

    def rows(self, text: Any) -> list[tuple[Any, ...]]:
        """Return what a statement finds."""
        with self.database.session() as connection:
            return connection.execute(self.database.statement(text)).fetchall()

    def close(self) -> None:
        """Let go of connections; the tables stay."""
        self.model.close()
        self.database.close()
        self.versions.close()
