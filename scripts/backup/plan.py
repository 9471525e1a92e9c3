"""What the topics of the new cluster must hold, derived from a backup and a list of erasures. Pure.

Everything that follows from the events is derived: the latest event of each user, and the claims on
addresses of other partitions. Address messages are not restored, because changes in progress are
decided again from their commands. The result depends on the backup and the erasures alone, so that
a killed restore can continue where it stopped.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from schemas.errors import Rejected
from schemas.fields.rules import clean_email
from schemas.identity import (
    email_key,
    email_shard,
    event_id,
    parse_user_id,
    partition_of,
    user_shard,
)
from schemas.records import (
    ACCEPTED,
    CREATE_USER,
    USER_ERASED,
    CommandOutcome,
    EmailClaim,
    UserCommand,
    UserEvent,
)
from schemas.topics import COMMANDS, HISTORY, OUTCOMES
from scripts.backup.directory import Part
from scripts.backup.files import Copied, read_records

_HELD = "held"
_NO_DIGEST = bytes(8)


class PlannedEvent(NamedTuple):
    """An event for `user-history`; with `is_latest` also for `user-events`."""

    event: UserEvent
    is_latest: bool


class PartitionPlan:
    """The events of one partition: `files` yields all that the backup has, at each call.

    Construction reads them once; `events` reads them again. Memory grows with the users.
    """

    def __init__(self, events: "EventFiles", erasures: Collection[str]) -> None:
        self._files = events
        self._latest: dict[str, int] = {}
        self._erased: set[str] = set()
        self._versions: dict[str, int] = {}
        self._time_ms = 0
        self.seq = 0
        for event in events:
            user_id = event["user_id"]
            self._latest[user_id] = self.seq = event["seq"]
            self._time_ms = event["occurred_at"]
            if event["type"] == USER_ERASED:
                self._erased.add(user_id)
            elif user_id in erasures:
                self._versions[user_id] = event["version"]
        for user_id in self._erased & self._versions.keys():
            del self._versions[user_id]
        self.seq += len(self._versions)
        self._gone = self._erased | set(erasures)
        self._unknown_shards = {user_shard(one) for one in set(erasures) - self._latest.keys()}

    @property
    def users(self) -> int:
        """How many users the partition has had."""
        return len(self._latest)

    @property
    def erasures(self) -> int:
        """How many users are erased by the restore."""
        return len(self._versions)

    def events(self) -> Iterator[PlannedEvent]:
        """Yield what is restored, by seq. Of an erased user there is only the marker."""
        for event in self._files:
            user_id = event["user_id"]
            is_latest = self._latest[user_id] == event["seq"]
            is_gone = user_id in self._versions or (user_id in self._erased and not is_latest)
            if not is_gone:
                yield PlannedEvent(event, is_latest)
        for marker in self.markers():
            yield PlannedEvent(marker, is_latest=True)

    def keeps(self, command: UserCommand) -> bool:
        """Return whether an undecided command is restored.

        One about an erased user is not. Neither is a creation that may have created a user who is
        to be erased but is not known: the shard of the address is in the user's id.
        """
        with suppress(Rejected):  # the handler will reject it as well
            if command["kind"] == CREATE_USER:
                key = email_key(clean_email(command["email"]))
                return email_shard(key) not in self._unknown_shards
            return parse_user_id(command["user_id"]) not in self._gone
        return True

    def markers(self) -> Iterator[UserEvent]:
        """Yield the event of each erasure, as the handler would have written it after the cut."""
        first = self.seq - len(self._versions) + 1
        for seq, (user_id, version) in enumerate(sorted(self._versions.items()), first):
            yield {
                "event_id": event_id(user_id, version + 1),
                "command_id": f"restore-{user_id}",
                "seq": seq,
                "user_id": user_id,
                "version": version + 1,
                "occurred_at": self._time_ms,
                "type": USER_ERASED,
                "changes": [],
                "user": None,
                "issued_by": None,
            }


class EventFiles:
    """The events of one partition in all parts of a backup; can be iterated again."""

    def __init__(self, parts: Iterable[Part], partition: int) -> None:
        self._paths = [
            part.path / file.name for part in parts for file in part.manifest.history[partition]
        ]

    def __iter__(self) -> Iterator[UserEvent]:
        for path in self._paths:
            for one in read_records(path, HISTORY):
                yield one["record"]


def claim_of(event: UserEvent, partition: int, partitions: int) -> tuple[int, EmailClaim] | None:
    """Return the claim that a user's latest event implies, and its partition; None if it is here.

    No command of the new log has offset 0, so no later claim of the user has the same key.
    """
    user = event["user"]
    if user is None:
        return None
    there = partition_of(email_shard(user["email_key"]), partitions)
    if there == partition:
        return None
    return there, {
        "claim_id": event["command_id"],
        "email_key": user["email_key"],
        "user_id": event["user_id"],
        "status": _HELD,
        "claimed_at": event["occurred_at"],
        "email": None,
        "command_offset": 0,
        "digest": None,
        "expected_version": None,
    }


def outcome_of(marker: UserEvent) -> CommandOutcome:
    """Return the answer that belongs to an erasure's event; its offset is not set yet."""
    return {
        "command_id": marker["command_id"],
        "command_offset": 0,
        "decided_at": marker["occurred_at"],
        "digest": _NO_DIGEST,
        "status": ACCEPTED,
        "user_id": marker["user_id"],
        "version": marker["version"],
        "seq": marker["seq"],
        "code": None,
        "message": None,
        "repeated": False,
    }


def outcomes_of(part: Part, partition: int) -> Iterator[CommandOutcome]:
    """Yield the answers of a partition; the file has the partitions one after the other."""
    for one in _of_partition(part, part.manifest.outcomes.name, partition):
        yield one["record"]


def commands_of(part: Part, partition: int) -> Iterator[UserCommand]:
    """Yield the undecided commands of a partition."""
    for one in _of_partition(part, part.manifest.commands.name, partition):
        yield one["record"]


def _of_partition(part: Part, name: str, partition: int) -> Iterator[Copied]:
    topic = OUTCOMES if name == part.manifest.outcomes.name else COMMANDS
    for one in read_records(part.path / name, topic):
        if one["partition"] > partition:
            return
        if one["partition"] == partition:
            yield one
