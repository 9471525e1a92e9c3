"""A version of a read model in PostgreSQL without a log: events applied to it by hand."""

from typing import Any, Self

from projectors.contract.read_model import Advance, Batch, EventKey, Position
from projectors.postgres.store.database import Database
from projectors.postgres.store.versions import PostgresVersions
from schemas.identity import email_shard, new_user_id
from schemas.records import UserEvent

NOW = 1_700_000_000_000


def id_of(number: int) -> str:
    """Return the id of user `number`."""
    return new_user_id(email_shard(f"user{number}@example.com"), NOW + number, number)


def user_event(number: int, version: int = 1, **state: Any) -> UserEvent:
    """Return an event of user `number`; `gone=True` for one that takes it away."""
    email = f"user{number}@example.com"
    fields = {
        "email": email,
        "email_key": email,
        "name": "Jane Doe",
        "age": 34,
        "created_at": NOW + number,
        "created_by": "c",
    }
    return {
        "event_id": f"{id_of(number)}:{version}",
        "command_id": "c",
        "seq": 1,
        "user_id": id_of(number),
        "version": version,
        "occurred_at": NOW + number + 1000 * version,
        "type": "UserUpdated",
        "changes": [],
        "user": None if state.pop("gone", False) else fields | state,  # type: ignore[typeddict-item]
    }


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
