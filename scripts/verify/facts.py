"""What the checks keep of the log and what they find.

They keep only the last event of each user, with texts as hashes. A finding names coordinates and
ids, never personal data.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from schemas.identity import email_shard
from schemas.records import USER_ERASED, CommandOutcome, UserEvent

NO_CUT = 1 << 62
EXAMPLES = 10


class Entry(NamedTuple):
    """A record on the log; `record` is None for a tombstone or foreign bytes."""

    partition: int
    offset: int
    key: str | None
    record: Any
    problem: str = ""

    @property
    def where(self) -> str:
        """The coordinates of the record."""
        return f"partition {self.partition} offset {self.offset}"


class Fact(NamedTuple):
    """An event without its state, to compare with the outcomes."""

    seq: int
    command_id: str
    user_id: str
    version: int


class Last(NamedTuple):
    """A user's last event; texts are hashes, `age` is None once the user is gone.

    Times are in milliseconds since the epoch; `created_at` is None once the user is gone.

    `is_personal` is whether it contains any personal data; `shard` is that of the address.
    """

    seq: int
    version: int
    digest: int
    erased: bool
    is_personal: bool
    email_key: int
    shard: int
    email: int
    name: int
    age: int | None
    created_at: int | None
    updated_at: int


def text_hash(text: str) -> int:
    """Return a 64-bit hash of `text` that is the same in every process."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())


def last_of(event: UserEvent) -> Last:
    """Return what the checks keep of a user after `event`."""
    user = event["user"]
    kept = (
        event["seq"],
        event["version"],
        text_hash(repr(event)),
        event["type"] == USER_ERASED,
        user is not None or bool(event["changes"]),
    )
    if user is None:
        return Last(*kept, 0, 0, 0, 0, None, None, event["occurred_at"])
    return Last(
        *kept,
        text_hash(user["email_key"]),
        email_shard(user["email_key"]),
        text_hash(user["email"]),
        text_hash(user["name"]),
        user["age"],
        user["created_at"],
        event["occurred_at"],
    )


@dataclass(slots=True)
class Check:
    """One promise, how often it was checked and how often it was broken.

    `examples` are coordinates and ids, at most `EXAMPLES`. A `listing` only counts what exists;
    that is not a violation.
    """

    promise: str
    listing: bool = False
    looked_at: int = 0
    found: int = 0
    examples: list[str] = field(default_factory=list)

    def report(self, example: str) -> None:
        """Record a finding by its coordinates."""
        self.found += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)

    @property
    def holds(self) -> bool:
        """Whether the promise holds."""
        return self.listing or not self.found

    def line(self) -> str:
        """Return one line of text."""
        mark = "·" if self.listing else "✓" if self.holds else "✗"
        wrong = f", {self.found} {'found' if self.listing else 'wrong'}" if self.found else ""
        return f"{mark} {self.promise}  ({self.looked_at} checked{wrong})"

    def as_json(self) -> Mapping[str, Any]:
        """Return the JSON object."""
        return {
            "check": self.promise,
            "holds": self.holds,
            "looked_at": self.looked_at,
            "found": self.found,
            "examples": self.examples,
        }


def last_decided(facts: Sequence[Fact], outcomes: Iterable[CommandOutcome], committed: int) -> int:
    """Return the last seq that was decided before a partition was read, for `Decided.cut`.

    `committed` is the offset of its commands before the reading. A change of address may be decided
    during it although its command is older. The history was read first, so it shows that.
    """
    before = [one["seq"] or 0 for one in outcomes if one["command_offset"] < committed]
    return min(max(before, default=0), facts[-1].seq if facts else 0)
