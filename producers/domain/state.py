"""What the handler knows of one partition: its users, who holds which address, what was decided.

The state is a fold of the log and nothing else: restored from it at start, forgotten when the
partition goes. Live and restored it is folded by the same methods, so the two agree.

A user is kept as one packed `bytes`: as a tuple of strings it takes twice the memory, and a
partition holds them all.
"""

from collections import deque
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from schemas.identity import email_shard, partition_of
from schemas.records import (
    USER_ERASED,
    CommandOutcome,
    EmailClaim,
    User,
    UserEvent,
)

# version, seq, created_at, age, flags, then the lengths in bytes of the texts that follow.
_HEAD = Struct("<QQqBBHHHBB")
_GONE, _ERASED, _SAME_KEY, _SAME_COMMAND, _UUID_COMMAND, _UUID_CREATED_BY = 1, 2, 4, 8, 16, 32
_UUID_CHARACTERS = 36


class Held(NamedTuple):
    """One user after its last event; `user` is None once it is gone."""

    version: int
    seq: int
    command_id: str
    user: User | None
    erased: bool


def held(event: UserEvent) -> Held:
    """Return what is kept of a user after `event`."""
    erased = event["type"] == USER_ERASED
    return Held(event["version"], event["seq"], event["command_id"], event["user"], erased)


def pack(one: Held) -> bytes:
    """Return `one` as bytes: a head of numbers and the texts, equal ones once."""
    user, command, flags = one.user, *_pack_id(one.command_id, _UUID_COMMAND)
    if user is None:
        flags |= _GONE | (_ERASED if one.erased else 0)
        return _HEAD.pack(one.version, one.seq, 0, 0, flags, 0, 0, 0, len(command), 0) + command
    email, key, name = user["email"].encode(), b"", user["name"].encode()
    created_by, flags = b"", flags | _SAME_KEY | _SAME_COMMAND
    if user["email_key"] != user["email"]:
        key, flags = user["email_key"].encode(), flags & ~_SAME_KEY
    if user["created_by"] != one.command_id:
        created_by, is_uuid = _pack_id(user["created_by"], _UUID_CREATED_BY)
        flags = (flags | is_uuid) & ~_SAME_COMMAND
    head = _HEAD.pack(
        one.version,
        one.seq,
        user["created_at"],
        user["age"],
        flags,
        len(email),
        len(key),
        len(name),
        len(command),
        len(created_by),
    )
    return b"".join((head, email, key, name, command, created_by))


def unpack(packed: bytes) -> Held:
    """Return what `pack` was given."""
    version, seq, created_at, age, flags, *lengths = _HEAD.unpack_from(packed)
    parts, start = [], _HEAD.size
    for length in lengths:
        parts.append(packed[start : start + length])
        start += length
    email, key, name = (part.decode() for part in parts[:3])
    command_id = id_text(parts[3]) if flags & _UUID_COMMAND else parts[3].decode()
    if flags & _GONE:
        return Held(version, seq, command_id, None, bool(flags & _ERASED))
    created_by = id_text(parts[4]) if flags & _UUID_CREATED_BY else parts[4].decode()
    user: User = {
        "email": email,
        "email_key": email if flags & _SAME_KEY else key,
        "name": name,
        "age": age,
        "created_at": created_at,
        "created_by": command_id if flags & _SAME_COMMAND else created_by,
    }
    return Held(version, seq, command_id, user, erased=False)


def _pack_id(command_id: str, flag: int) -> tuple[bytes, int]:
    """Return a command id as bytes, and `flag` if it is a UUID, which takes less than half."""
    if len(command_id) == _UUID_CHARACTERS:
        try:
            packed = id_bytes(command_id)
        except ValueError:
            return command_id.encode(), 0
        if id_text(packed) == command_id:
            return packed, flag
    return command_id.encode(), 0


def packed_key(packed: bytes) -> bytes | None:
    """Return the key of the packed user's address, None if it is gone; a third of an `unpack`."""
    _, _, _, _, flags, email_bytes, key_bytes, *_ = _HEAD.unpack_from(packed)
    if flags & _GONE:
        return None
    start, length = _HEAD.size, email_bytes
    if not flags & _SAME_KEY:
        start, length = start + email_bytes, key_bytes
    return packed[start : start + length]


def packed_version(packed: bytes) -> int:
    """Return the version of what was packed, without unpacking the rest."""
    return int.from_bytes(packed[:8], "little")


@lru_cache(maxsize=16)
def id_bytes(user_id: str) -> bytes:
    """Return a canonical user id as 16 bytes; the last few are asked for several times each."""
    return bytes.fromhex(user_id.replace("-", ""))


def id_text(user_id: bytes) -> str:
    """Return what `id_bytes` was given."""
    digits = user_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class OutcomeWindow:
    """The latest outcomes by command id, so that a repeated command gets the same answer.

    Bounded by the log alone (how far an outcome's command lies behind the latest one, in offsets
    and in time), so that a restored window equals the live one.
    """

    def __init__(self, most_commands: int, most_ms: int) -> None:
        self._most_commands = most_commands
        self._most_ms = most_ms
        self._by_id: dict[str, CommandOutcome] = {}
        self._order: deque[CommandOutcome] = deque()
        self.last_offset = -1
        self.last_decided_at = 0

    def get(self, command_id: str) -> CommandOutcome | None:
        """Return the first outcome of `command_id` within the window, or its latest repeat."""
        return self._by_id.get(command_id)

    def add(self, outcome: CommandOutcome) -> None:
        """Remember `outcome` and forget what is too old.

        A repeat says what the first said, and keeps it for as long: a restore may begin between
        the two. A refusal of another body says nothing about the id's own command.
        """
        self.last_offset = max(self.last_offset, outcome["command_offset"])
        self.last_decided_at = max(self.last_decided_at, outcome["decided_at"])
        if outcome["code"] != "command_id_reused":
            self._by_id[outcome["command_id"]] = outcome
            self._order.append(outcome)
        oldest_offset = self.last_offset - self._most_commands
        oldest_ms = self.last_decided_at - self._most_ms
        while self._order and (
            self._order[0]["command_offset"] <= oldest_offset
            or self._order[0]["decided_at"] < oldest_ms
        ):
            old = self._order.popleft()
            if self._by_id.get(old["command_id"]) is old:
                del self._by_id[old["command_id"]]

    def __len__(self) -> int:
        return len(self._by_id)


class PartitionState:
    """The fold of one partition of the log.

    `emails` maps the key of an address of this partition, encoded (a `str` takes 16 bytes more), to
    the live user of this partition who holds it. While restoring it is not kept: folding through a
    half-cleaned log could free an address that a later state holds, so `finish_restore` builds it
    from the final states. `claims` maps the keys held or reserved by a user who lives elsewhere to
    that user's claims.
    """

    def __init__(self, partition: int, partitions: int, window: OutcomeWindow) -> None:
        self.partition = partition
        self.partitions = partitions
        self.users: dict[bytes, bytes] = {}
        self.emails: dict[bytes, bytes] = {}
        self.claims: dict[str, tuple[EmailClaim, ...]] = {}
        self.window = window
        self.last_seq = 0
        self.last_time = 0
        self._claims_by_id: dict[str, EmailClaim] = {}

    def is_home_of(self, key: str) -> bool:
        """Return whether the address with this key belongs to this partition."""
        return partition_of(email_shard(key), self.partitions) == self.partition

    def restore_event(self, event: UserEvent) -> None:
        """Fold an event read from the log; `finish_restore` must follow the last record."""
        user_id = id_bytes(event["user_id"])
        before = self.users.get(user_id)
        # As the read models do: an older version after a newer one was not put there by us.
        if before is None or packed_version(before) < event["version"]:
            self.users[user_id] = pack(held(event))
        self.last_seq = max(self.last_seq, event["seq"])
        self.last_time = max(self.last_time, event["occurred_at"])

    def restore_outcome(self, outcome: CommandOutcome) -> None:
        """Fold an outcome read from the log."""
        self.window.add(outcome)
        # The last events may have been superseded and cleaned; the outcomes still know the seq.
        self.last_seq = max(self.last_seq, outcome["seq"] or 0)
        self.last_time = max(self.last_time, outcome["decided_at"])

    def restore_claim(self, claim_id: str, claim: EmailClaim | None) -> None:
        """Fold a claim read from the log, None for its release."""
        if claim is None:
            self._claims_by_id.pop(claim_id, None)
        else:
            self._claims_by_id[claim_id] = claim
            self.last_time = max(self.last_time, claim["claimed_at"])

    def finish_restore(self) -> None:
        """Build the indexes of addresses from the final states."""
        for user_id, packed in self.users.items():
            key = packed_key(packed)
            if key is not None and self.is_home_of(key.decode()):
                self.emails[key] = user_id
        for claim in sorted(self._claims_by_id.values(), key=claim_key):
            others = self.claims.get(claim["email_key"], ())
            self.claims[claim["email_key"]] = (*others, claim)
        self._claims_by_id = {}


def claim_key(claim: EmailClaim) -> str:
    """Return the key of a claim on the log: one for each command that asked.

    Not the command id: two users, or two tries with different addresses, may use the same one, and
    compaction, which keeps one record of a key, would then free an address that is held.
    """
    return f"{claim['user_id']}:{claim['command_offset']}"
