"""What the checks keep of the log: never a text, and of a user no more than its last event."""

from hashlib import blake2b
from typing import Any, NamedTuple

from schemas.identity import email_shard
from schemas.records import USER_ERASED, UserEvent

NO_CUT = 1 << 62


class Entry(NamedTuple):
    """A record as it stands on the log; `record` is None for a tombstone or foreign bytes."""

    partition: int
    offset: int
    key: str | None
    record: Any
    problem: str = ""

    @property
    def where(self) -> str:
        """Name the record by its coordinates."""
        return f"partition {self.partition} offset {self.offset}"


class Fact(NamedTuple):
    """What the decisions are checked against: one event, without its state."""

    seq: int
    command_id: str
    user_id: str
    version: int


class Last(NamedTuple):
    """A user's last event; texts are hashes, `age` is None once the user is gone.

    `tells` is whether it says anything personal, `shard` that of the address.
    """

    seq: int
    version: int
    digest: int
    erased: bool
    tells: bool
    email_key: int
    shard: int
    email: int
    name: int
    age: int | None


def text_hash(text: str) -> int:
    """Return 64 bits that stand for `text`, the same in every process."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())


def last_of(event: UserEvent) -> Last:
    """Return what is kept of a user after `event`."""
    user = event["user"]
    erased = event["type"] == USER_ERASED
    digest, tells = text_hash(repr(event)), user is not None or bool(event["changes"])
    if user is None:
        return Last(event["seq"], event["version"], digest, erased, tells, 0, 0, 0, 0, None)
    return Last(
        event["seq"],
        event["version"],
        digest,
        erased,
        tells,
        text_hash(user["email_key"]),
        email_shard(user["email_key"]),
        text_hash(user["email"]),
        text_hash(user["name"]),
        user["age"],
    )
