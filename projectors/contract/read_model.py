"""What a read model must implement: versions, each with its own data and checkpoint.

A version is a complete copy of the read model. One of them is live: queries see that one. A new
column or mapping needs a new version, built from the log while the live one serves queries.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

from projectors.contract.source import Source
from schemas.errors import Fenced
from schemas.records import UserEvent

# A user's id and the version that an event brought it to.
EventKey: TypeAlias = tuple[str, int]
# What a read model stores because of one event; the user's id comes first.
Row: TypeAlias = tuple[str, *tuple[Hashable, ...]]

BUILDING: Final = "building"
READY: Final = "ready"


class Dropped(Fenced):
    """The version of the read model was dropped: its projector must end."""

    default_code = "version_dropped"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a read model has come in one partition.

    `topic_id` is Kafka's id of the topic: a re-created topic has another one, and its offsets mean
    something else. `last_seq` is the seq of the last event applied, 0 before any. `applied_at`, in
    milliseconds since the epoch, is when the read model reached the position: `checkpoint()` fills
    it in for people to see; it is not part of the position and is not compared.
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
    """What to apply, and by which steps the checkpoint advances.

    `events` are all events in order or the last of each user, depending on the model's source.
    `removed` are events to remove before those of the batch are added. Both may be empty: the step
    past a record that was dead-lettered. `advances` may be empty: a retried dead letter, whose
    events are before the checkpoint. `packed` has what `pack_event` returned for each of `events`
    if the model is one that `PacksEvents`, in their order; it may be empty all the same.
    """

    events: Sequence[UserEvent]
    advances: Mapping[int, Advance]
    removed: Sequence[EventKey] = ()
    packed: Sequence[Any] = ()

    def __post_init__(self) -> None:
        """Refuse packed events that are not those of the batch."""
        assert len(self.packed) in {0, len(self.events)}  # noqa: S101 - a fault of ours


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a read model; times are in milliseconds since the epoch.

    Its state is `building` until it was compared with the log, then `ready`: from then on until it
    is dropped, projectors keep it up to date, unless it is paused since `paused_at`. `live_since`
    is None if it was never live.
    """

    number: int
    state: Literal["building", "ready"]
    live: bool
    created_at: int
    live_since: int | None
    paused_at: int | None = None


class ReadModel(Protocol):
    """One version of a read model, which a projector keeps up to date.

    Not for several threads, except for `pack_event` (see `PacksEvents`).
    """

    @property
    def name(self) -> str:
        """The name of the read model, as in `projector run NAME`."""

    @property
    def version(self) -> int:
        """The number of the version."""

    @property
    def source(self) -> Source:
        """The topic that it is built from, and which of its events it needs."""

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written. Raises `Dropped`."""

    def write(self, batch: Batch) -> None:
        """Apply the events and advance the checkpoint; the two never disagree, even after a crash.

        Idempotent: an event that was applied before changes nothing. Raises `Fenced` if a
        checkpoint is not where `before` says (another process advanced it), `Dropped`,
        `Unavailable` if the store cannot be reached (the same batch may be retried), `Poisoned` if
        an event cannot be stored.
        """

    def make_visible(self) -> None:
        """Return once queries that start now see everything that the checkpoint covers."""

    def row_of(self, event: UserEvent) -> Row:
        """Return the row that the read model should store because of `event`; pure."""

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield the rows that the read model stores, in the form of `row_of`, in any order."""

    def close(self) -> None:
        """Close all connections."""


@runtime_checkable
class PacksEvents(Protocol):
    """A read model whose events are packed for its store while the previous batch is written.

    Optional, and only for speed: `write` must do without `Batch.packed` as well.
    """

    def pack_event(self, event: UserEvent) -> object:
        """Return `event` in the form that is sent to the store, never None; pure, for any thread.

        If it raises, `write` gets the batch unpacked, and raises `Poisoned` as without this method.
        """


@runtime_checkable
class DividesRows(Protocol):
    """A read model whose rows several processes can read, each a part. Optional, for speed."""

    def divide_rows(self, parts: int) -> AbstractContextManager[Sequence[Any]]:
        """Return, in a context, what stands for each part and can be sent to another process.

        Every row is in exactly one part, as long as no row changes. Raises `Unavailable`.
        """

    def rows_of(self, part: Any) -> Iterator[Sequence[Row]]:
        """Yield the rows of a part as `rows` does; any instance of the same version can."""


class ReadModelVersions(Protocol):
    """All versions of one read model in its store. Not for several threads.

    Every method raises `Unavailable` if the store cannot be reached.
    """

    @property
    def name(self) -> str:
        """The name of the read model."""

    @property
    def source(self) -> Source:
        """The topic that it is built from, and which of its events it needs."""

    def versions(self) -> list[Version]:
        """Return every version, by number; empty before `begin`."""

    def begin(self) -> None:
        """Create the first version, ready and live, if there is none. Safe to call concurrently.

        A projector calls it again before it opens a version: if the store needs to be brought up to
        date after an upgrade of its software, this is the place.
        """

    def create(self) -> int:
        """Create an empty version in state `building`; return its number."""

    def open(self, number: int) -> ReadModel:
        """Return a version, which may be used in another thread.

        A missing version raises `Dropped` when it is used. Raises `Misconfigured` if this release
        of rollbook cannot write all of its columns.
        """

    def finish(self, number: int) -> None:
        """Do what was deferred while filling it, such as building indexes. Blocks; idempotent.

        A `ReadModel` of the version that was opened before either stays correct or raises `Fenced`.
        """

    def accept(self, number: int) -> None:
        """Set the state of a version to `ready`. Idempotent. Raises `Dropped`."""

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        """Make a ready version live, for all queries in one step; idempotent.

        1. Block writes to the live version. 2. Call `await_caught_up`, which returns once version
        `number` has applied everything that the log had at the call; if it raises, let the error
        propagate and change nothing. 3. Make queries see the new version. 4. Unblock writes to the
        old one. If the process is killed, at most the block stays, and it must expire within a
        minute.
        """

    def drop(self, number: int) -> None:
        """Remove a version that is not live, and its data. Idempotent."""

    def close(self) -> None:
        """Close all connections."""


@runtime_checkable
class PausableVersions(Protocol):
    """Versions of a read model whose store can keep that one is paused.

    `versions` then returns since when, in `Version.paused_at`.
    """

    def set_paused(self, number: int, *, paused: bool) -> None:
        """Set since when version `number` is paused to now, or to never. Idempotent.

        A version that is paused already keeps its time. Raises `Dropped`, `Unavailable`.
        """
