"""Which events may be trusted: the same rule for the handler's restore and for the read models.

Only handlers write the topics of events, but Kafka cannot keep another client with write access
from putting a well-formed event there. An event whose numbers are out of range would stop every
reader that believed it.
"""

import re

from schemas.errors import Poisoned
from schemas.fields.rules import STORED_AGE_MAX_YEARS
from schemas.identity import history_key, partition_of, user_shard
from schemas.records import User, UserEvent

# One less than the greatest 64-bit number: the highest version that Elasticsearch accepts.
MAX_VERSION = 2**63 - 2
# The latest time that a datetime can represent, in the year 9999.
MAX_TIME_MS = 253_402_300_799_999
# What every structure that holds a user can hold, whatever the rules were when it was accepted: the
# packed snapshots, a keyword of Elasticsearch even if folding makes it longer. UTF-8 has at most
# four bytes a character, so a shorter text is within its limit without being encoded.
_TEXT_MAX_BYTES = 8_000
_ID_MAX_BYTES = 255
CANONICAL_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HISTORY_KEY = re.compile(rb"(" + CANONICAL_ID.pattern.encode() + rb"):([1-9][0-9]{0,18})")
_CLAIM_KEY = re.compile(CANONICAL_ID.pattern.encode() + rb":[0-9]{1,19}")


def check_event(event: UserEvent, key: bytes | None, partition: int, partitions: int) -> None:
    """Raise `Poisoned` if an event of `user-events` cannot be what our handler wrote there.

    Its code is `no_key`, `wrong_key`, `bad_user_id`, `wrong_partition`, `bad_version`, `bad_seq`,
    `bad_time` or `bad_user`. An event of an unknown type is trusted: its state is enough.
    """
    if key is None:
        raise Poisoned("an event has no key", code="no_key")
    if key != event["user_id"].encode():  # compaction uses the key
        raise Poisoned("an event's key is not its user's id", code="wrong_key")
    _check_content(event, partition, partitions)


def check_history_event(
    event: UserEvent, key: bytes | None, partition: int, partitions: int
) -> None:
    """Raise `Poisoned` if an event of `user-history` cannot be what our handler wrote there.

    The codes are those of `check_event`; the key is the user's id and the event's version.
    """
    if key is None:
        raise Poisoned("an event has no key", code="no_key")
    if key != history_key(event["user_id"], event["version"]).encode():
        raise Poisoned("an event's key is not its user's id and version", code="wrong_key")
    _check_content(event, partition, partitions)


def removed_event(key: bytes | None, partition: int, partitions: int) -> tuple[str, int]:
    """Return the user id and version of the event that a tombstone of `user-history` removes.

    Raises `Poisoned` for a key that does not name an event of this partition: `no_key`,
    `wrong_key`, `wrong_partition` or `bad_version`.
    """
    if key is None:
        raise Poisoned("a tombstone has no key", code="no_key")
    named = _HISTORY_KEY.fullmatch(key)
    if named is None:
        raise Poisoned("a tombstone's key is not a user's id and version", code="wrong_key")
    user_id, version = named[1].decode(), int(named[2])
    if partition_of(user_shard(user_id), partitions) != partition:
        raise Poisoned("a tombstone is not in its user's partition", code="wrong_partition")
    if version > MAX_VERSION:
        raise Poisoned("a tombstone's version is out of range", code="bad_version")
    return user_id, version


def is_user_key(key: bytes | None, partition: int, partitions: int) -> bool:
    """Return whether a key of `user-events` is the id of a user who lives in this partition."""
    text = (key or b"").decode("ascii", "replace")
    is_id = CANONICAL_ID.fullmatch(text) is not None
    return is_id and partition_of(user_shard(text), partitions) == partition


def is_claim_key(key: bytes | None) -> bool:
    """Return whether a key of `user-emails` is that of a claim."""
    return _CLAIM_KEY.fullmatch(key or b"") is not None


def _check_content(event: UserEvent, partition: int, partitions: int) -> None:
    check_user_id(event)
    if partition_of(user_shard(event["user_id"]), partitions) != partition:
        raise Poisoned("an event is not in its user's partition", code="wrong_partition")
    if not 1 <= event["version"] <= MAX_VERSION:
        raise Poisoned("an event's version is out of range", code="bad_version")
    if not 1 <= event["seq"] <= MAX_VERSION:
        raise Poisoned("an event's seq is out of range", code="bad_seq")
    user = event["user"]
    if not 0 <= event["occurred_at"] <= MAX_TIME_MS or (
        user is not None and not 0 <= user["created_at"] <= MAX_TIME_MS
    ):
        raise Poisoned("an event's time is out of range", code="bad_time")
    if not _is_within(_ID_MAX_BYTES, event["command_id"]) or not (
        user is None or _is_possible(user)
    ):
        raise Poisoned("an event's user has fields that are out of range", code="bad_user")


def _is_possible(user: User) -> bool:
    """Return whether the fields can be held; the rules for new input are stricter.

    Another release may have accepted what today's rules refuse. A handler that passed over such a
    user would give the address to a second one.
    """
    return (
        0 <= user["age"] <= STORED_AGE_MAX_YEARS
        and _is_within(_TEXT_MAX_BYTES, user["name"])
        and _is_within(_TEXT_MAX_BYTES, user["email"])
        and _is_within(_TEXT_MAX_BYTES, user["email_key"])
        and _is_within(_ID_MAX_BYTES, user["created_by"])
    )


def _is_within(most_bytes: int, text: str) -> bool:
    return len(text) <= most_bytes // 4 or len(text.encode()) <= most_bytes


def check_user_id(event: UserEvent) -> None:
    """Raise `Poisoned` (`bad_user_id`) if the user id of an event has no partition."""
    if not CANONICAL_ID.fullmatch(event["user_id"]):
        raise Poisoned("an event's user id is not a canonical UUID", code="bad_user_id")
