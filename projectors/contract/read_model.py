"""What a read model is to the projectors: versions, each a place with its data and its position.

A version is a complete read model of its own. One of them is live: queries see that one. A new
column or mapping is a new version, built from the log while the live one serves.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

from projectors.contract.source import Source
from schemas.errors import Fenced
from schemas.records import UserEvent

# A user's id and the version that an event brought it to.
EventKey: TypeAlias = tuple[str, int]
# What a read model holds because of one event, the user's id first.
Row: TypeAlias = tuple[str, *tuple[Hashable, ...]]

BUILDING: Final = "building"
READY: Final = "ready"


class Dropped(Fenced):
    """The version of the read model is no longer there: its projector has nothing left to do."""

    default_code = "version_dropped"


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
    step past a record that was dead-lettered. There may be no step: events of a dead letter that
    is tried again, which stand before the checkpoint.
    """

    events: Sequence[UserEvent]
    advances: Mapping[int, Advance]
    removed: Sequence[EventKey] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a read model; times are in milliseconds since the epoch.

    `building` until it was compared with the log, then `ready`: from then on projectors keep it up
    to date until it is dropped. `live_since` is None if it never was live.
    """

    number: int
    state: Literal["building", "ready"]
    live: bool
    created_at: int
    live_since: int | None


class ReadModel(Protocol):
    """One version of a read model, which a projector keeps up to date. Not for several threads."""

    @property
    def name(self) -> str:
        """What people call it: `projector run NAME`."""

    @property
    def version(self) -> int:
        """Its number."""

    @property
    def source(self) -> Source:
        """What it is made of."""

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written. Raises `Dropped`."""

    def write(self, batch: Batch) -> None:
        """Apply the events and advance the checkpoint, so that they can never disagree.

        Idempotent: an event that was applied before changes nothing. Raises `Fenced` if a
        checkpoint is not where `before` says (another process advanced it), `Dropped`,
        `Unavailable` if the store is away (nothing is lost by trying again), `Poisoned` if an event
        cannot be stored.
        """

    def make_visible(self) -> None:
        """Return once queries that begin now see all that the checkpoint covers."""

    def row_of(self, event: UserEvent) -> Row:
        """Return what the read model should hold because of `event`; pure."""

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield what the read model does hold, each row as `row_of` makes it, in any order."""

    def close(self) -> None:
        """Let go of connections."""


class ReadModelVersions(Protocol):
    """All versions of one read model in its store. Not for several threads.

    Every method raises `Unavailable` if the store is away.
    """

    @property
    def name(self) -> str:
        """What people call the read model."""

    @property
    def source(self) -> Source:
        """What it is made of."""

    def versions(self) -> list[Version]:
        """Return every version, by number; empty before `begin`."""

    def begin(self) -> None:
        """Create the first version, ready and live, if there is none. Safe side by side."""

    def create(self) -> int:
        """Create an empty version that is `building`, and return its number."""

    def open(self, number: int) -> ReadModel:
        """Return a version, which may be used in another thread.

        One that is not there is `Dropped` when it is used. Raises `Misconfigured` if this rollbook
        cannot write what it needs.
        """

    def finish(self, number: int) -> None:
        """Do what was put off to build faster, such as indexes. Blocks; idempotent.

        A `ReadModel` of the version that was opened before is `Fenced` afterwards, or goes on
        rightly.
        """

    def accept(self, number: int) -> None:
        """Make a version that was built and compared `ready`. Idempotent. Raises `Dropped`."""

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        """Make a ready version live, for all queries in one step; idempotent.

        1. Writes to the live version are held. 2. `await_caught_up()` returns once version
        `number` has applied all that the log had when it was called; what it raises goes out, and
        nothing has changed. 3. Queries see the new version. 4. Writes to the old one go on. Killed
        in between, at most step 1 stays, and that not for long.
        """

    def drop(self, number: int) -> None:
        """Remove a version that is not live, and its data. Idempotent."""

    def close(self) -> None:
        """Let go of connections."""
