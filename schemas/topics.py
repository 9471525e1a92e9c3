"""The topics: the purpose, keys and cleaning of each, with the reasons, in one place.

All topics except the dead letters have the same number of partitions, because a record's partition
is always its user's (or, for a claim, its address's), and one command handler owns a partition
number in all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from schemas.formats import (
    ADDRESS_MESSAGE_SCHEMAS,
    EVENT_SCHEMAS,
    LATEST_FORMAT,
    MARK_SCHEMA,
)

_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


class Option(NamedTuple):
    """The value of one of Kafka's topic options, and why it has that value."""

    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; `schema` names the latest `.avsc` file of its values, `key` what its keys are."""

    name: str
    schema: str
    key: str
    purpose: str
    options: Mapping[str, Option]
    one_partition: bool = False

    @property
    def config(self) -> dict[str, str]:
        """The topic's options as Kafka takes them."""
        return {name: option.value for name, option in self.options.items()}


def _delete(retention_ms: int, reason: str) -> dict[str, Option]:
    return {
        "cleanup.policy": Option("delete", "records are needed for a limited time only"),
        "retention.ms": Option(str(retention_ms), reason),
        "retention.bytes": Option(
            "-1", "deletion by size would remove messages before they are decided"
        ),
        "segment.ms": Option(
            str(_DAY),
            "the broker deletes closed segments only: without a roll, a topic with little traffic "
            "would keep personal data long past its retention",
        ),
    }


COMMANDS = Topic(
    "user-commands",
    "user_command",
    "command id",
    "requests to change users; the only topic that clients may write to",
    _delete(
        7 * _DAY,
        "a handler that was down for a week still decides every command; older commands, and the "
        "personal data in them, are deleted",
    ),
)
EVENTS = Topic(
    "user-events",
    EVENT_SCHEMAS[LATEST_FORMAT],
    "user id",
    "the latest event of each user, with the user's state: the source of the read models; under a "
    "reserved id, the format of the partition",
    {
        "cleanup.policy": Option("compact", "keeps the latest event of every user for ever"),
        "max.compaction.lag.ms": Option(
            str(_DAY),
            "a closed segment is cleaned within a day, whatever its dirty ratio is; together with "
            "`segment.ms` this limits how long the last state of an erased user stays on disk",
        ),
        "segment.ms": Option(str(6 * _HOUR), "compaction skips the open segment, so it must close"),
        "min.cleanable.dirty.ratio": Option(
            "0.3",
            "restores and rebuilds read superseded records too; cleaning at a third keeps those "
            "few without rewriting the log all the time",
        ),
        "delete.retention.ms": Option(
            str(_DAY),
            "Kafka's default. No tombstones are written here (a deletion is a record without a "
            "user), but the same option decides when transaction markers are removed",
        ),
    },
)
HISTORY = Topic(
    "user-history",
    EVENT_SCHEMAS[LATEST_FORMAT],
    "user id and version",
    "every event: the audit trail",
    {
        "cleanup.policy": Option(
            "compact", "keeps every event for ever, except those that an erasure overwrites"
        ),
        "min.cleanable.dirty.ratio": Option(
            "0.9",
            "almost every key is unique, so cleaning frees only what was erased: it waits for a "
            "mostly dirty log, or for `max.compaction.lag.ms`",
        ),
        "max.compaction.lag.ms": Option(
            str(7 * _DAY), "limits, with `segment.ms`, how long erased events stay on disk"
        ),
        "segment.ms": Option(str(_DAY), "compaction skips the open segment, so it must close"),
        "delete.retention.ms": Option(
            str(7 * _DAY),
            "a reader that is stopped for less than a week still sees the tombstones of an erasure",
        ),
    },
)
OUTCOMES = Topic(
    "user-outcomes",
    "command_outcome",
    "command id",
    "the answer to each command: accepted or rejected, and why; also the index of decided "
    "command ids",
    _delete(8 * _DAY, "a day longer than the commands: an answer must outlive its command"),
)
EMAILS = Topic(
    "user-emails",
    "email_claim",
    "user id and offset of the command",
    "addresses that belong to this partition but are held by users who live in another; under the "
    "key `position`, as JSON, how far the partition is decided",
    {
        "cleanup.policy": Option("compact", "keeps every claim until it is released"),
        "max.compaction.lag.ms": EVENTS.options["max.compaction.lag.ms"],
        "segment.ms": EVENTS.options["segment.ms"],
        "min.cleanable.dirty.ratio": Option("0.3", "a restore reads superseded claims too"),
        "delete.retention.ms": Option(
            str(_DAY), "Kafka's default: a restore takes minutes, so it still sees the tombstones"
        ),
    },
)
HOPS = Topic(
    "user-hops",
    ADDRESS_MESSAGE_SCHEMAS[LATEST_FORMAT],
    "claim id",
    "messages between partitions about changes of address",
    _delete(
        30 * _DAY,
        "a change of address survives a partition whose handler is down for weeks; grants that are "
        "still open are sent again after a restore",
    ),
)
DEAD_LETTERS = Topic(
    "user-dead-letters",
    "dead_letter",
    "topic, partition and offset of the record",
    "the places of records that could not be read or applied, and the reasons",
    _delete(
        14 * _DAY, "two weeks to fix a cause and retry; the records themselves stay in the log"
    ),
    one_partition=True,
)

TOPICS = (COMMANDS, EVENTS, HISTORY, OUTCOMES, EMAILS, HOPS, DEAD_LETTERS)

# Every schema that a release registers: those that it reads and those that it may write.
SCHEMAS = tuple(
    dict.fromkeys(
        [
            *EVENT_SCHEMAS.values(),
            *ADDRESS_MESSAGE_SCHEMAS.values(),
            *(topic.schema for topic in TOPICS),
            MARK_SCHEMA,
        ]
    )
)
