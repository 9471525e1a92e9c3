"""The topics: what each is for, how it is keyed and cleaned, in one place.

All but the dead letters have the same number of partitions, because a record's partition is always
its user's (or, for a claim, its address's) and the command handler owns one number in all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; `schema` names the `.avsc` file of its values, `config` is Kafka's own."""

    name: str
    schema: str
    purpose: str
    config: Mapping[str, str]
    one_partition: bool = False


def _delete(retention_ms: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        # The broker deletes whole closed segments: without a roll a quiet topic would keep personal
        # data long past its retention.
        "segment.ms": str(_DAY),
    }


COMMANDS = Topic(
    "user-commands",
    "user_command",
    "what was asked; the only topic clients may write",
    _delete(7 * _DAY),
)
EVENTS = Topic(
    "user-events",
    "user_event",
    "the latest event of each user, with state: the source of the read models",
    {
        "cleanup.policy": "compact",
        # A closed segment is cleaned within a day whatever the dirty ratio: this, plus the roll
        # below, bounds how long an erased user's last state can survive on disk.
        "max.compaction.lag.ms": str(_DAY),
        "segment.ms": str(6 * _HOUR),
        # Restore and rebuild read the superseded part as well; cleaning at a third keeps it small
        # without rewriting the log all the time.
        "min.cleanable.dirty.ratio": "0.3",
        # No tombstones are written here (a deletion is a record with null state); the default
        # day stays for transaction markers, which are collected by the same rule.
        "delete.retention.ms": str(_DAY),
    },
)
HISTORY = Topic(
    "user-history",
    "user_event",
    "every event: the audit trail",
    {
        "cleanup.policy": "compact",
        # Keys are nearly unique, so cleaning frees nothing but what was erased: wait for a mostly
        # dirty log, but never longer than a week, which bounds the life of erased records.
        "min.cleanable.dirty.ratio": "0.9",
        "max.compaction.lag.ms": str(7 * _DAY),
        "segment.ms": str(_DAY),
        # A reader that is down for less than a week still sees the tombstones of an erasure.
        "delete.retention.ms": str(7 * _DAY),
    },
)
OUTCOMES = Topic(
    "user-outcomes",
    "command_outcome",
    "accepted or rejected and why; the index of decided command ids",
    # Longer than the commands': an answer must outlive the command it belongs to.
    _delete(8 * _DAY),
)
EMAILS = Topic(
    "user-emails",
    "email_claim",
    "addresses of this partition held by users who live in another",
    {
        "cleanup.policy": "compact",
        "max.compaction.lag.ms": str(_DAY),
        "segment.ms": str(6 * _HOUR),
        "min.cleanable.dirty.ratio": "0.3",
        "delete.retention.ms": str(_DAY),
    },
)
HOPS = Topic(
    "user-hops",
    "email_hop",
    "messages of the change-of-address saga between partitions",
    _delete(30 * _DAY),
)
DEAD_LETTERS = Topic(
    "user-dead-letters",
    "dead_letter",
    "coordinates of records that could not be read or applied",
    _delete(14 * _DAY),
    one_partition=True,
)

TOPICS = (COMMANDS, EVENTS, HISTORY, OUTCOMES, EMAILS, HOPS, DEAD_LETTERS)
