"""The formats of the log: which schemas the handler of a partition writes.

A release reads every format up to its latest, and writes the one that the partition's log states.
So an older release can take a partition back until `rollbook upgrade finalise` has raised its
format (docs/decisions/0026). The format is stated by a *mark*: a record in `user-events`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

from schemas.identity import SHARDS

# What a log without a mark has.
FIRST_FORMAT: Final = 1
LATEST_FORMAT: Final = 2
# Of a partition that a restore from a backup has not finished. A later mark replaces it.
UNFINISHED_RESTORE: Final = 0

# Format → schema, of each record that has changed since the first. Format 2 adds `issued_by`.
EVENT_SCHEMAS: Final[Mapping[int, str]] = {1: "user_event", 2: "user_event.2"}
ADDRESS_MESSAGE_SCHEMAS: Final[Mapping[int, str]] = {1: "email_hop", 2: "email_hop.2"}
MARK_SCHEMA: Final = "log_format"

# Users have the time of their creation and random bits there.
_TIME_ZERO: Final = "00000000-0000"
_RANDOM_ZERO: Final = "8000-000000000000"


def earlier_schemas(name: str) -> list[str]:
    """Return the schemas that earlier formats have for the record of schema `name`."""
    for schemas in (EVENT_SCHEMAS, ADDRESS_MESSAGE_SCHEMAS):
        names = list(schemas.values())
        if name in names:
            return names[: names.index(name)]
    return []


@cache
def mark_key(partition: int, partitions: int) -> str:
    """Return the key of a partition's mark: an id of this partition that no user ever gets."""
    first_shard = -(-partition * SHARDS // partitions)
    return f"{_TIME_ZERO}-7{first_shard:03x}-{_RANDOM_ZERO}"


def is_mark_key(key: bytes | None, partition: int, partitions: int) -> bool:
    """Return whether a record of `user-events` has the key of its partition's mark."""
    return key == mark_key(partition, partitions).encode()


def is_mark_id(user_id: str | None) -> bool:
    """Return whether an id is that of some partition's mark."""
    text = user_id or ""
    return text.startswith(_TIME_ZERO) and text.endswith(_RANDOM_ZERO)
