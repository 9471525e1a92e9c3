"""Pure checks of the read model `history`: it must hold exactly the fold of `user-history`.

A partition at a time, so that what is kept is proportional to one partition's events; contents are
kept as hashes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.identity import history_key, partition_of, user_shard
from schemas.records import USER_ERASED, UserEvent
from scripts.verify.facts import Entry, text_hash
from scripts.verify.findings import Check

_PERSONAL = ("changes", "email", "email_key", "name", "age", "created_at", "created_by")
_STATE = ("email", "email_key", "name", "age", "created_at", "created_by")


@dataclass(slots=True)
class HistoryFold:
    """What one partition of `user-history` leaves: user id → version → hash of the event.

    `erased` maps a user to the version of its erasure: everything below is gone, whenever it comes.
    """

    kept: dict[str, dict[int, int]] = field(default_factory=dict)
    erased: dict[str, int] = field(default_factory=dict)

    def add(self, event: UserEvent) -> None:
        """Take an event over, unless its user was erased at a later version."""
        user_id, version = event["user_id"], event["version"]
        if version < self.erased.get(user_id, 0):
            return
        versions = self.kept.setdefault(user_id, {})
        if event["type"] == USER_ERASED:
            self.erased[user_id] = version
            for older in [one for one in versions if one < version]:
                del versions[older]
        # What happened, happened: a second record of a version is judged by the log's own checks.
        versions.setdefault(version, event_hash(event))

    def remove(self, key: str) -> None:
        """Take out what a tombstone names."""
        user_id, _, version = key.rpartition(":")
        if version.isdecimal():
            self.kept.get(user_id, {}).pop(int(version), None)


def fold(entries: Iterable[Entry], partitions: int) -> HistoryFold:
    """Return what the records of one partition leave; those that are not ours leave nothing."""
    left = HistoryFold()
    for entry in entries:
        event: UserEvent | None = entry.record
        if event is None:
            if not entry.problem and entry.key is not None:
                left.remove(entry.key)
        elif (
            entry.key == history_key(event["user_id"], event["version"])
            and partition_of(user_shard(event["user_id"]), partitions) == entry.partition
        ):
            left.add(event)
    return left


def event_hash(event: UserEvent) -> int:
    """Return 64 bits that stand for all that the read model must hold of an event."""
    user: Mapping[str, Any] | None = event["user"]
    changes = [(one["field"], one["before"], one["after"]) for one in event["changes"]]
    state = None if user is None else [user[name] for name in _STATE]
    if event["type"] == USER_ERASED:
        changes, state = [], None
    return _hash(event, changes, state)


def row_hash(row: Mapping[str, Any]) -> int:
    """Return the same of a row; times are milliseconds since the epoch."""
    found = row["changes"] or []
    changes = [(one["field"], one["before"], one["after"]) for one in found]
    state = [row[name] for name in _STATE]
    return _hash(row, changes, None if all(value is None for value in state) else state)


def _hash(event: Mapping[str, Any], changes: list[Any], state: list[Any] | None) -> int:
    names = ("seq", "occurred_at", "type", "command_id")
    return text_hash(repr(([event[name] for name in names], changes, state)))


@dataclass(slots=True)
class HistoryChecks:
    """Feed `partition` with each partition: what the log leaves, and the rows of its users."""

    same: Check = field(
        default_factory=lambda: Check("history: holds exactly the fold of user-history")
    )
    erased: Check = field(
        default_factory=lambda: Check("history: of the erased it holds the marker and nothing else")
    )

    def partition(self, left: HistoryFold, rows: Iterable[Mapping[str, Any]]) -> None:
        """Compare the rows with what the log leaves, up to the same offset; uses `left` up."""
        for row in rows:
            user_id, version = row["user_id"], row["version"]
            self.same.looked_at += 1
            wanted = left.kept.get(user_id, {}).pop(version, None)
            if wanted is None:
                self.same.report(f"user {user_id} version {version} is not on the log")
            elif wanted != row_hash(row):
                self.same.report(f"user {user_id} version {version} differs")
            self._check_erased(row, left.erased.get(user_id))
        for user_id, versions in left.kept.items():
            for version in versions:
                self.same.looked_at += 1
                self.same.report(f"user {user_id} version {version} is missing")

    def _check_erased(self, row: Mapping[str, Any], marker: int | None) -> None:
        if marker is None and row["type"] != USER_ERASED:
            return
        self.erased.looked_at += 1
        where = f"user {row['user_id']} version {row['version']}"
        if marker is not None and row["version"] < marker:
            self.erased.report(f"{where} is still there")
        elif any(row[name] is not None for name in _PERSONAL):
            self.erased.report(f"{where} has something personal")
