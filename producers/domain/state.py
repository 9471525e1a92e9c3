"""What the handler knows of one partition: its users, who holds which address, what was decided.

The state is a fold of the log and nothing else: restored from it at start, dropped when the
partition is revoked. The same methods fold it live and in a restore, so the two agree.
"""

from producers.domain.encoded_event import PackedEvent
from producers.domain.outcome_window import OutcomeWindow
from producers.domain.snapshot import pack, packed_key, packed_version, snapshot_of
from schemas.formats import FIRST_FORMAT
from schemas.identity import email_shard, partition_of, uuid_bytes
from schemas.records import CommandOutcome, EmailClaim, LogFormat, UserEvent

# The statuses of a claim.
RESERVED, HELD = "reserved", "held"


class PartitionState:
    """The fold of one partition of the log.

    `users` maps the 16 bytes of a user id to the packed snapshot. `emails` maps the key of an
    address of this partition, encoded (a `str` takes 16 bytes more), to the live user of this
    partition who holds it. It is not kept during a restore: folding through a half-compacted log
    could free an address that a later state holds, so `finish_restore` builds it from the final
    states. `claims` maps the keys held or reserved by a user of another partition to that user's
    claims; `open_grants` maps the keys on the log of those that are only reserved to their times.
    `format` is the one that its handlers write (see `schemas.formats`).
    """

    def __init__(self, partition: int, partitions: int, window: OutcomeWindow) -> None:
        self.partition = partition
        self.partitions = partitions
        self.users: dict[bytes, bytes] = {}
        self.emails: dict[bytes, bytes] = {}
        self.claims: dict[str, tuple[EmailClaim, ...]] = {}
        self.open_grants: dict[str, int] = {}
        self.window = window
        self.last_seq = 0
        self.last_time = 0
        self.format = FIRST_FORMAT
        self._claims_by_id: dict[str, EmailClaim] = {}

    def owns(self, shard: int) -> bool:
        """Return whether the users and addresses of `shard` belong to this partition."""
        return partition_of(shard, self.partitions) == self.partition

    def is_home_of(self, key: str) -> bool:
        """Return whether the address with this key belongs to this partition."""
        return self.owns(email_shard(key))

    def restore_event(self, event: UserEvent) -> None:
        """Fold an event read from the log; `finish_restore` must follow the last record."""
        user_id, packed = uuid_bytes(event["user_id"]), pack(snapshot_of(event))
        self.restore_packed((user_id, event["version"], packed, event["seq"], event["occurred_at"]))

    def restore_packed(self, event: PackedEvent) -> None:
        """Fold an event whose user is packed already."""
        user_id, version, packed, seq, occurred_at = event
        before = self.users.get(user_id)
        # No handler writes an older version after a newer one, so ignore it, as the read models do.
        if before is None or packed_version(before) < version:
            self.users[user_id] = packed
        self.last_seq = max(self.last_seq, seq)
        self.last_time = max(self.last_time, occurred_at)

    def restore_mark(self, mark: LogFormat) -> None:
        """Fold the partition's mark; its handlers write this format from there on."""
        self.format = max(self.format, mark["format"])

    def restore_outcome(self, outcome: CommandOutcome) -> None:
        """Fold an outcome read from the log."""
        self.window.add(outcome)
        # The last events may have been superseded and compacted; the outcomes still have the seq.
        self.last_seq = max(self.last_seq, outcome["seq"] or 0)

    def restore_claim(self, claim_id: str, claim: EmailClaim | None) -> None:
        """Fold a claim read from the log, None for its release."""
        if claim is None:
            self._claims_by_id.pop(claim_id, None)
        else:
            self._claims_by_id[claim_id] = claim
            self.last_time = max(self.last_time, claim["claimed_at"])

    def finish_restore(self) -> None:
        """Build the indexes of addresses from the final states.

        The last outcome has the time of the last batch that decided something. A greater time of
        an event is from before a clock that was ahead was corrected.
        """
        if self.window.last_offset >= 0:
            self.last_time = self.window.last_decided_at
        for user_id, packed in self.users.items():
            key = packed_key(packed)
            if key is not None and self.is_home_of(key.decode()):
                self.emails[key] = user_id
        for claim in sorted(self._claims_by_id.values(), key=claim_key):
            others = self.claims.get(claim["email_key"], ())
            self.claims[claim["email_key"]] = (*others, claim)
            self.note_grant(claim_key(claim), claim)
        self._claims_by_id = {}

    def note_grant(self, claim_id: str, claim: EmailClaim | None) -> None:
        """Note whether a claim, None once it was released, is a grant that is still open."""
        if claim is not None and claim["status"] == RESERVED:
            self.open_grants[claim_id] = claim["claimed_at"]
        else:
            self.open_grants.pop(claim_id, None)


def claim_key(claim: EmailClaim) -> str:
    """Return the key of a claim on the log: one for each command that asked.

    Not the command id: two users, or two attempts with different addresses, may use the same one,
    and compaction, which keeps one record per key, would then free an address that is held.
    """
    return f"{claim['user_id']}:{claim['command_offset']}"
