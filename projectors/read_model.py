"""What a read model is to the runner: a place that keeps data and its own position together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from projectors.source import Source
from schemas.records import UserEvent

# A user's id and the version that an event brought it to.
EventKey: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Position:
    """How far a read model has come in one partition.

    `topic_id` is Kafka's id of the topic: a topic that was created anew has another, and its
    offsets mean something else. `last_seq` is the seq of the last event applied, 0 before any.
    `applied_at`, in milliseconds since the epoch, is when the read model came there: `checkpoint()`
    fills it in for people to see; it is no part of the position, and nothing compares it.
    """

    topic_id: str
    next_offset: int
    last_seq: int
    applied_at: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Advance:
    """A step of one partition's checkpoint; None before the first."""

    before: Position | None
    after: Position


@dataclass(frozen=True, slots=True)
class Batch:
    """What to apply, and the steps it is.

    `events` are, by the model's source, all of them in order or the last of each user. `removed`
    are events to remove, before those of the batch are added. There may be nothing of either: the
    step past a record that was dead-lettered.
    """

    events: Sequence[UserEvent]
    advances: Mapping[int, Advance]
    removed: Sequence[EventKey] = ()


class ReadModel(Protocol):
    """A read model that a projector can keep up to date."""

    @property
    def name(self) -> str:
        """What people call it: `projector run NAME`."""

    @property
    def source(self) -> Source:
        """What it is made of."""

    def prepare(self) -> None:
        """Create what is missing: tables or an index. Idempotent; safe from several processes."""

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written; none before `prepare`."""

    def write(self, batch: Batch) -> None:
        """Apply the events and advance the checkpoint, so that they can never disagree.

        Idempotent: an event that was applied before changes nothing. Raises `Fenced` if a
        checkpoint is not where `before` says (another process advanced it), `Unavailable` if the
        store is away (nothing is lost by trying again), `Poisoned` if an event cannot be stored.
        """

    def reset(self) -> None:
        """Remove all data and the checkpoint, as before the first event.

        Safe while a projector runs: its next step is `Fenced`, it sees that it is behind where it
        was, and begins again.
        """

    def close(self) -> None:
        """Let go of connections."""
